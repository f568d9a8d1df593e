"""`make bench`: every measurement, one after the other."""

from benchmarks import client, conversation, orm, relay

for part in (conversation, relay, client, orm):
    part.main()
    print()
