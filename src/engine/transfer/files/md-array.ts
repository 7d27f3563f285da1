/**
 * Puts the arrays of Linux software RAID (md) together from their members on the disks of one machine: linear, raid0, raid1,
 * raid4, raid5, raid6 and raid10 in its "near" layout (Linux, drivers/md). An array that lacks members is read as long as
 * every byte of it is on those that are there: by a copy, or by raid5's parity.
 *
 * A member whose event count is behind the newest by more than one dropped out earlier and is not read from, as in Linux. What
 * is being reshaped, or laid out in another way, is refused by name.
 */
import { isHoldfastError } from '#base'
import { TransferError } from '../errors.ts'
import { type ByteReader, damaged } from './disk-view.ts'
import type { MdMember } from './md-superblock.ts'
import { JoinedVolume, NearVolume, ParityVolume, type Part, type RowLayout, StripedVolume } from './volume-readers.ts'

export type MdArray = Readonly<{ name: string; level: string; notes: readonly string[] }> &
  (Readonly<{ reader: ByteReader }> | Readonly<{ refusal: string }>)

const LEVELS: Readonly<Record<number, string>> = {
  [-1]: 'linear',
  0: 'raid0',
  1: 'raid1',
  4: 'raid4',
  5: 'raid5',
  6: 'raid6',
  10: 'raid10',
}
const MEMBERS_MAX = 1920
const RAID0_ORIGINAL = 1

function refuse(message: string): TransferError {
  return new TransferError('files_unsupported', message)
}

/** The members by slot; of two that claim one slot the one without doubts. */
function slotsOf(members: readonly MdMember[], newest: MdMember): (MdMember | undefined)[] {
  const slots = Array.from<MdMember | undefined>({ length: newest.memberCount })
  for (const member of members) {
    const { slot } = member
    if (slot === undefined || slot >= newest.memberCount || member.events + 1 < newest.events) continue
    if (!newest.activeSlots.has(slot)) continue
    const known = slots[slot]
    if (known === undefined || (known.isDoubtful && !member.isDoubtful)) slots[slot] = member
  }
  return slots
}

function partOf(member: MdMember | undefined, sizeBytes: number): Part | undefined {
  if (member === undefined || member.isDoubtful) return undefined
  return { from: member.view.reader, offset: member.dataOffset, sizeBytes }
}

function checkMember({ view, dataOffset, dataBytes }: MdMember, sizeBytes: number): void {
  if (dataOffset + Math.max(dataBytes, sizeBytes) > view.sizeBytes)
    throw damaged('a member of a RAID is said to be larger than it is', { dataOffset, dataBytes, sizeBytes })
}

function allOf(slots: readonly (MdMember | undefined)[], level: string): MdMember[] {
  const present = slots.filter((slot) => slot !== undefined)
  if (present.length === slots.length) return present
  throw refuse(`${slots.length - present.length} of the ${slots.length} members of the ${level} are not here.`)
}

/** raid0 over members of several sizes: zones, each over those that reach so far. */
function openStripes(members: readonly MdMember[], { layout, chunkBytes }: MdMember): ByteReader {
  if (chunkBytes <= 0) throw damaged('a raid0 has no chunk size')
  const sizes = members.map(({ dataBytes }) => Math.floor(dataBytes / chunkBytes) * chunkBytes)
  const steps = [...new Set(sizes)].sort((a, b) => a - b)
  if (steps.length > 1 && layout === 0) throw refuse('The raid0 of unequal members does not say how it is laid out.')
  const zones: Part[] = []
  let [from, atBytes] = [0, 0]
  for (const step of steps) {
    const legs = members
      .filter((_, i) => (sizes[i] ?? 0) >= step)
      .map(({ view, dataOffset }) => ({ from: view.reader, offset: dataOffset + from, sizeBytes: step - from }))
    if (step === from) continue
    const turn = layout === RAID0_ORIGINAL ? (atBytes / chunkBytes) % legs.length : 0
    const zone = new StripedVolume(legs, chunkBytes, turn)
    zones.push({ from: zone, offset: 0, sizeBytes: zone.sizeBytes })
    from = step
    atBytes += zone.sizeBytes
  }
  return new JoinedVolume(zones)
}

function openMirror(slots: readonly (MdMember | undefined)[], sizeBytes: number): ByteReader {
  const leg = slots.map((slot) => partOf(slot, sizeBytes)).find((part) => part !== undefined)
  if (leg === undefined) throw refuse('No whole member of the raid1 is here.')
  return new JoinedVolume([leg])
}

function openNear(slots: readonly (MdMember | undefined)[], { layout, sizeBytes, chunkBytes }: MdMember): ByteReader {
  const [near, far] = [layout & 0xff, (layout >>> 8) & 0xff]
  if (far !== 1) throw refuse('The raid10 is laid out "far" or "offset".')
  if (chunkBytes <= 0 || near < 1 || near > slots.length) throw damaged('the layout of a raid10 is impossible')
  const legs = slots.map((slot) => partOf(slot, sizeBytes))
  const volume = new NearVolume(legs, sizeBytes, chunkBytes, near)
  if (!volume.isWhole) throw refuse('Too many members of the raid10 are not here.')
  return volume
}

/** Linux, raid5_compute_sector(): where the parity of a row is, and where its data begins. */
function rowLayout(level: number, layout: number, count: number): RowLayout {
  const parities = level === 6 ? 2 : 1
  const dataCount = count - parities
  const from = (start: number, isRotated: boolean, parity: number): readonly number[] => {
    const skipped = new Set(Array.from({ length: parities }, (_, i) => (parity + i) % count))
    const order = Array.from({ length: count }, (_, i) => (isRotated ? (start + i) % count : i))
    return order.filter((leg) => !skipped.has(leg)).slice(0, dataCount)
  }
  if (level === 4 || layout === 5) return () => ({ parity: dataCount, data: from(0, false, dataCount) })
  if (layout === 4) return () => ({ parity: 0, data: from(0, false, 0) })
  if (layout > 3) throw refuse(`The raid${level} is laid out in a way (${layout}) that is not read here.`)
  const [isRight, isSymmetric] = [(layout & 1) === 1, layout >= 2]
  return (row) => {
    const turn = row % count
    const parity = isRight ? turn : count - 1 - turn
    return { parity, data: from((parity + parities) % count, isSymmetric, parity) }
  }
}

function openParity(slots: readonly (MdMember | undefined)[], newest: MdMember): ByteReader {
  const { level, layout, sizeBytes, chunkBytes } = newest
  if (chunkBytes <= 0 || slots.length < (level === 6 ? 4 : 2)) throw damaged('the layout of a RAID is impossible')
  const legs = slots.map((slot) => partOf(slot, sizeBytes))
  const missing = legs.filter((leg) => leg === undefined).length
  // The second parity of raid6 is not calculated: it, too, is read as long as one member is missing at most.
  if (missing > 1) throw refuse(`${missing} of the ${slots.length} members of the raid${level} are not here.`)
  return new ParityVolume(legs, sizeBytes, chunkBytes, rowLayout(level, layout, slots.length))
}

function openLevel(slots: readonly (MdMember | undefined)[], newest: MdMember): ByteReader {
  const { level, sizeBytes } = newest
  const usesOwnSizes = level === 0 || level === -1
  for (const slot of slots) if (slot !== undefined) checkMember(slot, usesOwnSizes ? 0 : sizeBytes)
  if (level === 0) return openStripes(allOf(slots, 'raid0'), newest)
  if (level === -1) {
    const parts = allOf(slots, 'linear array').map(({ view, dataOffset, dataBytes, chunkBytes }) => ({
      from: view.reader,
      offset: dataOffset,
      sizeBytes: chunkBytes > 0 ? Math.floor(dataBytes / chunkBytes) * chunkBytes : dataBytes,
    }))
    return new JoinedVolume(parts)
  }
  if (level === 1) return openMirror(slots, sizeBytes)
  if (level === 10) return openNear(slots, newest)
  if (level === 4 || level === 5 || level === 6) return openParity(slots, newest)
  throw refuse(`RAID of level ${level} is not read here.`)
}

function notesOf(slots: readonly (MdMember | undefined)[], newest: MdMember): string[] {
  const missing = slots.filter((slot) => slot === undefined || slot.isDoubtful).length
  if (missing === 0) return []
  const notes = [`The RAID is degraded: ${missing} of its ${slots.length} members are not here or not up to date.`]
  if (!newest.isClean && newest.level >= 4 && newest.level <= 6)
    notes.push('It was being written to while degraded: what was written last may be wrong.')
  return notes
}

/** Puts together the members of one array. Nothing is thrown for what the disks say: it is a refusal. */
export function openMdArray(members: readonly MdMember[]): MdArray {
  const newest = members.reduce((best, member) => (member.events > best.events ? member : best))
  const name = newest.arrayName === '' ? newest.arrayId.slice(0, 8) : newest.arrayName.replace(/^.*:/, '')
  const facts = { name: `md/${name}`, level: LEVELS[newest.level] ?? `level ${newest.level}` }
  try {
    if (newest.refusal !== undefined) throw refuse(newest.refusal)
    if (newest.memberCount < 1 || newest.memberCount > MEMBERS_MAX) throw damaged('a RAID has no members')
    const slots = slotsOf(members, newest)
    return { ...facts, notes: notesOf(slots, newest), reader: openLevel(slots, newest) }
  } catch (error) {
    if (!isHoldfastError(error, 'files_damaged', 'files_unsupported')) throw error
    return { ...facts, notes: [], refusal: error.message }
  }
}
