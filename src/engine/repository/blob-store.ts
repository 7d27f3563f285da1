/**
 * BlobStore is all that the repository asks of a place to keep things: immutable objects under short keys.
 *
 * Promises that every store keeps (held by blob-store.contract.ts, which each must pass):
 *   1. `put` creates or reports `exists`; it never replaces. Of many concurrent puts of one key exactly one creates.
 *      When it resolves, `created` or `exists`, the object is durable and whole; a crash before that leaves it whole or
 *      absent. After a lost reply a second `put` says `exists` of the caller's own object: whoever must know compares bytes.
 *   2. `get` and `getRange` give exactly the stored bytes or fail; a range past the end is `blob_range_invalid`, never short.
 *      The bytes are the caller's own, in memory that nobody else sees: it may change them, or free them.
 *   3. `list` gives every object that existed before the call and was not deleted, in ascending byte order of key, or fails.
 *      It never silently ends early. Objects created meanwhile may or may not appear.
 *   4. `delete` of an absent object succeeds, of a locked one fails with `blob_locked`. A lock only ever extends,
 *      whoever asks at the same time. Nothing here deletes on its own.
 *
 * Keys are made of [a-z0-9/.-], at most 200 characters, no segment empty or beginning with a dot: safe as a path and as a
 * URL. No key may be a folder of another (`a` beside `a/b`): a folder store cannot hold both.
 */

import type { Clock } from '#base'

export type BlobKey = string

export type BlobInfo = Readonly<{ key: BlobKey; sizeBytes: number }>

export type StoreCapabilities = Readonly<{
  /**
   * Who keeps a `lock`: the store, against everyone and its owner too; this program alone, so that whoever can write to the
   * place by other means, its owner and root, is outside the promise; or nobody.
   */
  lock: 'store' | 'program' | 'none'
}>

/** Space that is held so that what frees space can work on a full store. */
export interface StoreReserve {
  /** Makes it unless it is there or space is short; gives whether it is there then. */
  make(sizeBytes: number): Promise<boolean>
  /** Gives the space back; false when there was none held. */
  release(): Promise<boolean>
}

export interface BlobStore {
  /** Where this is, for people and errors: a path or URL, never with a secret in it. */
  readonly location: string
  readonly capabilities: StoreCapabilities
  /** Absent where space is not bounded by a file system. */
  readonly reserve?: StoreReserve | undefined
  /** Removes what dead writers left that is no object; gives its number. Absent where there is no such thing. */
  sweep?(clock: Clock): Promise<number>

  /** Stores the concatenation of `parts` unless the key exists. @throws StoreError */
  put(key: BlobKey, parts: readonly Uint8Array[]): Promise<'created' | 'exists'>
  /**
   * The bytes may lie in `memory` if they fit; a store need not use it. It is not touched any more when this has settled.
   * @throws StoreError `blob_not_found`, `blob_too_large` (over 1 GiB: no such object is Holdfast's)
   */
  get(key: BlobKey, memory?: Uint8Array): Promise<Uint8Array>
  /** `memory` as for `get`. @throws StoreError `blob_not_found`, `blob_range_invalid` */
  getRange(key: BlobKey, offsetBytes: number, lengthBytes: number, memory?: Uint8Array): Promise<Uint8Array>
  /** The size in bytes, or undefined when there is no such object. */
  head(key: BlobKey): Promise<number | undefined>
  /** Objects whose key starts with `prefix` and is greater than `after`, in ascending order. */
  list(prefix: string, after?: BlobKey): AsyncIterable<BlobInfo>
  /** @throws StoreError `blob_locked` */
  delete(key: BlobKey): Promise<void>
  /** Forbids deletion until `untilMs` (Unix epoch); only ever extends. @throws StoreError `lock_unsupported`, `blob_not_found` */
  lock(key: BlobKey, untilMs: number): Promise<void>
  /**
   * Puts the right bytes in the place of rotted ones, locked or not, whose lock stays: of an object whose SHA-256 is known (hex) and which has
   * not these bytes. Readers see the old bytes or the new. False, and nothing changed, when `bytes` are not of that hash or the object
   * has it already. Absent where the store lets nobody do that.
   */
  mend?(key: BlobKey, bytes: Uint8Array, sha256: string): Promise<boolean>
  /** The store's own clock, Unix ms; undefined where it has none but this host's. */
  timeMs(): Promise<number | undefined>
  close(): Promise<void>
}
