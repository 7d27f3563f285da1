/**
 * Makes the frame of one side of a mirror (`config`, `keys/`) whole from the other side, byte for byte. Nothing vouches for these objects
 * but what they are: a configuration that decodes and has the id that the key slots beside it are of, a slot that decodes and, where
 * there is a key that opens it, opens. Where both sides fit and differ, which one is right nobody knows: it is named and left.
 *
 * A repository gets slots back only where none is left, since one that the mirror still has may have been withdrawn; a mirror gets
 * what it lacks. Works before the repository can be opened. A crash between deletion and put leaves the object missing, and running
 * it again mends that.
 */
import { isHoldfastError } from '#base'
import type { BlobKey, BlobStore } from '../blob-store.ts'
import { CONFIG_KEY, decodeConfig } from '../config.ts'
import { type Credential, KEY_SLOT_BYTES_MAX, keyOfSlot, listKeySlots, type SlotFit, slotFitOf } from '../key-slots.ts'
import { getOrNothing } from '../log/read-ahead.ts'
import { replace } from '../mirror-repair.ts'
import type { Damage } from '../verify/damage.ts'

/** Of one side: what of its frame was hurt, what of it is whole now, and what is not. */
export type HealedFrame = Readonly<{ hurt: readonly string[]; healed: readonly string[]; damage: readonly Damage[] }>

export type FrameParts = Readonly<{
  /** Which side it is. `mirror`: its log was seen to be of the repository's history. */
  side: 'repository' | 'mirror'
  credential?: Credential
}>

type Found = { hurt: string[]; healed: string[]; damage: Damage[] }

export async function healFrame(store: BlobStore, other: BlobStore, parts: FrameParts): Promise<HealedFrame> {
  const found: Found = { hurt: [], healed: [], damage: [] }
  const id = await healConfig(store, other, parts, found)
  if (id !== undefined) await healSlots(store, other, { ...parts, id }, found)
  return found
}

/** Gives the repository's id. */
async function healConfig(
  store: BlobStore,
  other: BlobStore,
  { side }: FrameParts,
  found: Found,
): Promise<string | undefined> {
  const [mine, theirs] = [await getOrNothing(store, CONFIG_KEY), await getOrNothing(other, CONFIG_KEY)]
  const [id, otherId] = [idOf(mine, store), idOf(theirs, other)]
  if (mine === undefined ? theirs === undefined : isSame(mine, theirs)) return id
  const right =
    side === 'repository' ? await rightId([store, id], [other, otherId]) : await rightId([other, otherId], [store, id])
  if (id !== undefined && id === right) {
    // Both say the same of what decides, and not the same: one of them has rotted where it does not show.
    if (otherId === right) found.damage.push({ kind: 'config_damaged', object: CONFIG_KEY, points: [] })
    return right
  }
  if (theirs === undefined || otherId === undefined || otherId !== right) {
    found.damage.push({ kind: 'config_damaged', object: CONFIG_KEY, points: [] })
    return undefined
  }
  await mend(store, CONFIG_KEY, theirs, found)
  return right
}

type Side = readonly [store: BlobStore, id: string | undefined]

/**
 * The id that the repository's own slots are of. Where none of them can be read, that of the mirror, if its slots are the same ones or the
 * repository has none: a place that holds something else puts nothing right.
 */
async function rightId([repository, own]: Side, [mirror, its]: Side): Promise<string | undefined> {
  for (const id of [own, its]) if (id !== undefined && (await listKeySlots(repository, id)).length > 0) return id
  if (its === undefined || own === its) return own
  const names = new Set((await slotsOf(repository)).keys())
  if (own === undefined && names.size === 0) return its
  return (await listKeySlots(mirror, its)).some((slot) => names.has(keyOfSlot(slot))) ? its : undefined
}

async function healSlots(
  store: BlobStore,
  other: BlobStore,
  { side, credential, id }: FrameParts & Readonly<{ id: string }>,
  found: Found,
): Promise<void> {
  const [ours, theirs] = [await slotsOf(store), await slotsOf(other)]
  const fitOf = (key: BlobKey, bytes: Uint8Array): Promise<SlotFit> => slotFitOf(bytes, { key, id, credential })
  for (const key of new Set(ours.keys()).intersection(new Set(theirs.keys()))) {
    const [mine, their] = [ours.get(key), theirs.get(key)]
    if (mine === undefined || their === undefined || isSame(mine, their)) continue
    const [fit, otherFit] = [await fitOf(key, mine), await fitOf(key, their)]
    // Where both open only the label differs.
    if (fit > otherFit || (fit === 3 && side === 'repository')) continue
    if (otherFit > fit || fit === 3) await mend(store, key, their, found)
    else found.damage.push({ kind: 'key_slot_corrupt', object: key, points: [] })
  }
  const isEmpty = (await listKeySlots(store, id)).length === 0
  if (side === 'repository' && !isEmpty) return
  for (const [key, bytes] of theirs) {
    if (ours.has(key) || (await fitOf(key, bytes)) < 2) continue
    // One that was added since the last pass is no damage.
    if (isEmpty) await mend(store, key, bytes, found)
    else await store.put(key, [bytes])
  }
  if (isEmpty && (await listKeySlots(store, id)).length === 0)
    found.damage.push({ kind: 'key_slots_missing', object: 'keys/', points: [] })
}

async function slotsOf(store: BlobStore): Promise<Map<BlobKey, Uint8Array>> {
  const slots = new Map<BlobKey, Uint8Array>()
  for await (const { key, sizeBytes } of store.list('keys/')) {
    const bytes = sizeBytes > KEY_SLOT_BYTES_MAX ? new Uint8Array() : await getOrNothing(store, key)
    if (bytes !== undefined) slots.set(key, bytes)
  }
  return slots
}

async function mend(store: BlobStore, key: BlobKey, bytes: Uint8Array, found: Found): Promise<void> {
  found.hurt.push(key)
  if (await replace(store, key, bytes)) found.healed.push(key)
  else found.damage.push({ kind: key === CONFIG_KEY ? 'config_damaged' : 'key_slot_corrupt', object: key, points: [] })
}

function isSame(one: Uint8Array, other: Uint8Array | undefined): boolean {
  return other !== undefined && Buffer.compare(one, other) === 0
}

function idOf(bytes: Uint8Array | undefined, { location }: BlobStore): string | undefined {
  if (bytes === undefined) return undefined
  try {
    return decodeConfig(bytes, location).id
  } catch (error) {
    // One flipped bit of the version says "too new".
    if (isHoldfastError(error, 'repository_damaged') || isHoldfastError(error, 'repository_too_new')) return undefined
    throw error
  }
}
