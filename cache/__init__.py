"""Stores on disk: the only code that writes them. Knows arrays and bytes, not poses.

The protocol, which every module here obeys and refers to by number:

1.  *Plan.* Rows stand in the source's order and are cut into blocks before the first byte is
    written. The plan is a pure function of the input, so every run cuts alike.
2.  *Key.* A block's key is a SHA-256 of everything its bytes depend on: schema, layout, encoder,
    parameters, annotation arrays, contents of its pictures. Same key, same bytes (`blocks`).
3.  *Build.* A key that is missing is built in the run's own work directory in the cache. One writer
    per shard, front to back, never a partial write (`shards`).
4.  *Commit.* Finished blocks wait for each other for at most half a second or 64 MiB. Then: sync
    the file system; rename each block to its key; sync again. A name below `blocks/??/` therefore
    always stands for a whole block, and a kill costs the blocks in flight (`blocks`).
5.  *Publish.* Shards that were in the cache already are checked first, by seal and CRC-32C: what
    is published is right, even if a bit has flipped since. A store is assembled under a temporary
    name beside its place, from links to committed shards (hard link, else clone, else copy),
    metadata and, last, the manifest; then: sync the file system; exchange the two directories
    atomically; sync the parent; remove the old one once no reader holds it. Where the file system
    cannot exchange, the old store steps aside to a name at which readers look too, and the new one
    is renamed into place (`publish`).
6.  *Resume is the only code path.* A run asks the cache for every block of its plan. There is no
    journal, no state besides the blocks, nothing to roll back.
7.  *Locks.* One builder per store, by a lock the kernel drops when its owner dies. Builders share
    the cache's lock, gc takes it alone. Work directories are locked by their maker: one that can be
    locked is garbage. Readers hold a shared lock on the store they opened, and it stays until they
    let go (`locks`, `files`).
8.  *Read.* The manifest names every shard with its length, digest and seal (a digest of the end of
    the file, which holds the digest of all before it). A reader trusts nothing else: it checks the
    seal when it opens a shard and a CRC-32C when it reads a chunk (`reader`).
9.  *Collect.* gc removes blocks that no registered store refers to, by renaming them away first.

Every effect on disk that this rests on goes through `syscalls`, so that tests can fail or kill the
k-th one, for every k.
"""
