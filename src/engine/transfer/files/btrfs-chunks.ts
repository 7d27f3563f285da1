/**
 * Where the logical addresses of Btrfs lie on its devices: single, DUP, RAID0, RAID1 (also of three and four copies) and
 * RAID10; of RAID5 and RAID6 the data itself, which is not worked out from parity when its device is missing.
 *
 * A read says what must be right about the bytes, and is tried on each copy until it is.
 */
import { TransferError } from '../errors.ts'
import { type DiskView, damaged, readU64 } from './disk-view.ts'

const TYPE = {
  raid0: 0x8,
  raid1: 0x10,
  dup: 0x20,
  raid10: 0x40,
  raid5: 0x80,
  raid6: 0x100,
  raid1c3: 0x200,
  raid1c4: 0x400,
}
const CHUNK_BYTES = 48
const STRIPE_BYTES = 32
const STRIPES_MAX = 1024
export const KEY_BYTES = 17

type Stripe = Readonly<{ deviceId: number; offset: number }>
type Chunk = Readonly<{
  logical: number
  length: number
  stripeBytes: number
  type: number
  stripes: readonly Stripe[]
  subStripes: number
}>
type Copy = Readonly<{ view: DiskView; offset: number }>

function parseChunk(logical: number, item: Buffer): Chunk {
  if (item.length < CHUNK_BYTES) throw damaged('a chunk is cut off', { logical })
  const count = item.readUInt16LE(44)
  if (count < 1 || count > STRIPES_MAX || CHUNK_BYTES + count * STRIPE_BYTES > item.length)
    throw damaged('a chunk has impossible stripes', { logical, count })
  const stripes = Array.from({ length: count }, (_, i) => {
    const at = CHUNK_BYTES + i * STRIPE_BYTES
    return { deviceId: readU64(item, at), offset: readU64(item, at + 8) }
  })
  const chunk = {
    logical,
    length: readU64(item, 0),
    stripeBytes: readU64(item, 16),
    type: readU64(item, 24),
    stripes,
    subStripes: item.readUInt16LE(46),
  }
  const isSane = chunk.length > 0 && chunk.stripeBytes >= 512 && Number.isSafeInteger(logical + chunk.length)
  if (!isSane) throw damaged('a chunk is of an impossible size', { logical })
  return chunk
}

/** Which stripes hold a stripe-sized unit, in the order in which they are tried, and at which row of each. */
function stripesOf(chunk: Chunk, unit: number): Readonly<{ indexes: readonly number[]; row: number }> {
  const count = chunk.stripes.length
  const { type } = chunk
  if ((type & TYPE.raid0) !== 0) return { indexes: [unit % count], row: Math.floor(unit / count) }
  if ((type & TYPE.raid10) !== 0) {
    const sub = Math.max(1, chunk.subStripes)
    const groups = Math.max(1, Math.floor(count / sub))
    const first = (unit % groups) * sub
    return { indexes: Array.from({ length: sub }, (_, i) => first + i), row: Math.floor(unit / groups) }
  }
  if ((type & (TYPE.raid5 | TYPE.raid6)) !== 0) {
    const data = count - ((type & TYPE.raid6) === 0 ? 1 : 2)
    if (data < 1) throw damaged('a chunk has impossible stripes')
    const row = Math.floor(unit / data)
    return { indexes: [((unit % data) + row) % count], row }
  }
  return { indexes: chunk.stripes.map((_, i) => i), row: unit }
}

export class ChunkMap {
  readonly #devices: ReadonlyMap<number, DiskView>
  readonly #chunks: Chunk[] = []

  constructor(devices: ReadonlyMap<number, DiskView>) {
    this.#devices = devices
  }

  /** The chunks that the superblock lists, without which the others cannot be found. */
  addSystem(list: Buffer): void {
    for (let at = 0; at + KEY_BYTES + CHUNK_BYTES <= list.length;) {
      const count = list.readUInt16LE(at + KEY_BYTES + 44)
      const end = at + KEY_BYTES + CHUNK_BYTES + count * STRIPE_BYTES
      if (end > list.length) throw damaged('the list of system chunks is cut off')
      this.add(readU64(list, at + 9), list.subarray(at + KEY_BYTES, end))
      at = end
    }
  }

  add(logical: number, item: Buffer): void {
    const chunk = parseChunk(logical, item)
    const place = this.#firstBehind(logical)
    const known = this.#chunks[place - 1]
    if (known?.logical === logical) return
    this.#chunks.splice(place, 0, chunk)
  }

  /** Index of the first chunk that begins behind `logical`. */
  #firstBehind(logical: number): number {
    let [low, high] = [0, this.#chunks.length]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if ((this.#chunks[middle]?.logical ?? 0) <= logical) low = middle + 1
      else high = middle
    }
    return low
  }

  /** The copies of up to `length` bytes, and how many of these lie together. */
  #copies(logical: number, length: number): Readonly<{ copies: readonly Copy[]; length: number }> {
    const chunk = this.#chunks[this.#firstBehind(logical) - 1]
    if (chunk === undefined || logical >= chunk.logical + chunk.length)
      throw damaged('an address of the file system is in no chunk', { logical })
    const inChunk = logical - chunk.logical
    const unit = Math.floor(inChunk / chunk.stripeBytes)
    const inUnit = inChunk % chunk.stripeBytes
    const { indexes, row } = stripesOf(chunk, unit)
    const copies: Copy[] = []
    for (const index of indexes) {
      const stripe = chunk.stripes[index]
      const view = stripe === undefined ? undefined : this.#devices.get(stripe.deviceId)
      if (stripe === undefined || view === undefined) continue
      copies.push({ view, offset: stripe.offset + row * chunk.stripeBytes + inUnit })
    }
    if (copies.length === 0)
      throw new TransferError('files_unsupported', 'A device of the Btrfs file system is not here.', {
        facts: { devices: this.#devices.size },
        hint: 'Look at all disks of the machine together.',
      })
    const isWhole = (chunk.type & (TYPE.raid0 | TYPE.raid10 | TYPE.raid5 | TYPE.raid6)) === 0
    const most = isWhole ? chunk.length - inChunk : chunk.stripeBytes - inUnit
    return { copies, length: Math.min(length, most) }
  }

  /**
   * `length` bytes from a logical address on.
   * @param isRight judges the bytes; asked for each copy until one is
   * @param isStructure read through the cache
   * @throws `files_damaged` when no copy is right
   */
  async read(
    logical: number,
    length: number,
    isRight: (bytes: Buffer) => boolean,
    isStructure = false,
  ): Promise<Buffer> {
    let wrong: unknown
    for (let copy = 0; copy === 0 || copy < this.#copies(logical, 1).copies.length; copy += 1) {
      try {
        const bytes = await this.#readCopy(logical, length, copy, isStructure)
        if (isRight(bytes)) return bytes
      } catch (error) {
        wrong = error
      }
    }
    if (wrong instanceof Error) throw wrong
    throw damaged('what a checksum covers is not what was written', { logical, length })
  }

  async #readCopy(logical: number, length: number, copy: number, isStructure: boolean): Promise<Buffer> {
    const parts: Buffer[] = []
    for (let done = 0; done < length;) {
      const found = this.#copies(logical + done, length - done)
      const { view, offset } = found.copies[Math.min(copy, found.copies.length - 1)] as Copy
      parts.push(await (isStructure ? view.read(offset, found.length) : view.readContent(offset, found.length)))
      done += found.length
    }
    const [only] = parts
    return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts)
  }
}
