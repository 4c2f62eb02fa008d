"""Where text comes from: each kind of source, by random access or as a stream."""
