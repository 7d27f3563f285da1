/**
 * Which legs of an LVM raid1 hold everything: what the small metadata volume beside each leg says (Linux,
 * drivers/md/dm-raid.c, struct dm_raid_superblock). A leg that the newest of them calls failed, that has an older number, or
 * that was still being filled is not read from.
 */
import { type ByteReader, readU64 } from './disk-view.ts'

const MAGIC = 'DmRd'
const META_BYTES = 512
const WHOLE = 0xffff_ffff

type LegState = Readonly<{ position: number; events: number; failed: readonly number[]; isFilled: boolean }>

async function stateOf(meta: ByteReader): Promise<LegState | undefined> {
  const bytes = Buffer.alloc(META_BYTES)
  if (meta.sizeBytes < META_BYTES) return undefined
  await meta.read(0, bytes)
  if (bytes.toString('latin1', 0, 4) !== MAGIC) return undefined
  return {
    position: bytes.readUInt32LE(12),
    events: readU64(bytes, 16),
    failed: [bytes.readUInt32LE(24), bytes.readUInt32LE(28)],
    isFilled: bytes.readUInt32LE(32) === WHOLE && bytes.readUInt32LE(36) === WHOLE,
  }
}

function isFailed(state: LegState, position: number): boolean {
  const word = state.failed[Math.floor(position / 32)] ?? 0
  return ((word >>> (position % 32)) & 1) === 1
}

/** Which of the legs with these metadata may be read. Without any metadata, which LVM zeroes for a new mirror, all may. */
export async function healthyLegs(metas: readonly ByteReader[]): Promise<boolean[]> {
  const states: (LegState | undefined)[] = []
  for (const meta of metas) states.push(await stateOf(meta))
  const known = states.filter((state) => state !== undefined)
  const [first, ...others] = known
  if (first === undefined) return states.map(() => true)
  const newest = others.reduce((best, state) => (state.events > best.events ? state : best), first)
  return states.map((own) => {
    if (own === undefined || !own.isFilled) return false
    return own.events === newest.events && !isFailed(newest, own.position)
  })
}
