/**
 * Names, lengths and fates of the log's packs by ordinal, in memory that threads share: 40 bytes a pack.
 * The log's thread writes, the others read; a status only ever moves forward in a way that readers may see late.
 */
import { must, toHex } from '#base'
import type { LogState, PackStatus } from '../log/state.ts'
import type { PackRef } from '../pack-reader.ts'

const BYTES_PER_PACK = 40
const STATUSES: readonly PackStatus[] = ['live', 'doomed', 'deleted']

export class PackDirectory {
  readonly buffer: SharedArrayBuffer
  readonly #bytes: Buffer

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer
    this.#bytes = Buffer.from(buffer)
  }

  /** `suspects`: names of packs that a check found hurt. They count as doomed: read as a last resort, relied on by nobody. */
  static of(state: LogState, suspects: ReadonlySet<string> = new Set()): PackDirectory {
    const directory = new PackDirectory(new SharedArrayBuffer(state.packs.length * BYTES_PER_PACK))
    for (const [ordinal, pack] of state.packs.entries()) {
      const at = ordinal * BYTES_PER_PACK
      directory.#bytes.write(pack.name, at, 'hex')
      directory.#bytes.writeUInt32LE(pack.lengthBytes, at + 32)
      const isSuspect = pack.status === 'live' && suspects.has(pack.name)
      directory.#bytes.writeUInt8(STATUSES.indexOf(isSuspect ? 'doomed' : pack.status), at + 36)
    }
    return directory
  }

  /** A copy in which these packs count as deleted: nothing is read from them, nothing relies on them. */
  without(ordinals: Iterable<number>): PackDirectory {
    const copy = new PackDirectory(new SharedArrayBuffer(this.#bytes.length))
    this.#bytes.copy(copy.#bytes)
    for (const ordinal of ordinals) copy.#bytes.writeUInt8(STATUSES.indexOf('deleted'), ordinal * BYTES_PER_PACK + 36)
    return copy
  }

  get size(): number {
    return this.#bytes.length / BYTES_PER_PACK
  }

  status(ordinal: number): PackStatus {
    if (ordinal >= this.size) return 'deleted'
    return must(STATUSES[this.#bytes.readUInt8(ordinal * BYTES_PER_PACK + 36)], 'Written by of()')
  }

  ref(ordinal: number): PackRef {
    const at = ordinal * BYTES_PER_PACK
    return { name: toHex(this.#bytes.subarray(at, at + 32)), lengthBytes: this.#bytes.readUInt32LE(at + 32) }
  }
}
