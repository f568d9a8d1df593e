"""What two agents say to each other: the interface a user replaces, and the demonstration behind it.

```python
class Weather(Dialogue):
    def reply(self, peer, message):
        return f"It is raining in {message}."
```
"""

from handfast.wire.text import Json


class Dialogue:
    """The demonstration dialogue, and the base class of your own.

    Both methods are called while the message that asks for them is being committed: they must be quick, must not touch
    the network, and may be called again for the same turn when a commit could not be made. What was delivered for
    certain is told afterwards, by the `delivered` event. If a method raises, the peer's message is refused and the
    conversation stays where it was.

    Args:
        say: what the initiator says.
        answer: what the responder answers.
    """

    def __init__(self, say: Json = "How are you?", answer: Json = "I am OK!") -> None:
        self.say = say
        self.answer = answer

    def opening(self, peer: str, turn: int) -> Json:
        """What to say as initiator.

        Args:
            peer: the peer's agent id.
            turn: 1 for the first request of a conversation, then counting up.

        Returns:
            Any JSON value.
        """
        del peer, turn
        return self.say

    def reply(self, peer: str, message: Json) -> Json:
        """What to answer as responder to `message`, a JSON value from an authenticated peer.

        Returns:
            Any JSON value.
        """
        del peer, message
        return self.answer
