/**
 * Key slots: the master key, wrapped once per way of opening the repository. Create-once objects `keys/<slot id>`, plain
 * JSON around the wrapped master. Adding or dropping a slot rewrites no data, and the last slot cannot be dropped.
 *
 *   passphrase  KEK = argon2id(passphrase, salt), RFC 9106, at least the second recommended option (64 MiB, 3 passes)
 *   key file    KEK = HKDF-SHA-256(32 bytes or more of a file that the user keeps)
 *
 * A wrong key is found here, by the wrap's tag, before anything else is read or written.
 */
import { argon2, hkdfSync } from 'node:crypto'
import { promisify } from 'node:util'
import { isHoldfastError, type Random, toHex } from '#base'
import type { BlobKey, BlobStore } from './blob-store.ts'
import { KEY_BYTES, SealingKey, TAG_BYTES } from './crypto.ts'
import { RepositoryError } from './errors.ts'
import { parseObject, toJsonBytes } from './json.ts'
import { isMirrorError, readMirrorMark } from './mirror/mirror-mark.ts'

/** What the user opens the repository with. Never logged, never on a command line. */
export type Credential =
  | Readonly<{ kind: 'passphrase'; passphrase: string }>
  | Readonly<{ kind: 'key-file'; bytes: Uint8Array }>

export type KdfCost = Readonly<{ memoryKib: number; passes: number; parallelism: number }>
export const KDF_COST_DEFAULT: KdfCost = { memoryKib: 64 * 1024, passes: 3, parallelism: 4 }
/** Bounds what a hostile slot can make us compute: 4 GiB, 64 passes. */
const KDF_COST_MAX: KdfCost = { memoryKib: 4 * 1024 * 1024, passes: 64, parallelism: 64 }
const KEY_FILE_BYTES_MIN = 32
/** What a repository may have. Far fewer than are looked at, so that planted ones do not hide a good one. */
const SLOTS_MAX = 64
const SLOTS_READ_MAX = 1024
/** What is larger is no slot, and is not read. */
export const KEY_SLOT_BYTES_MAX = 64 * 1024
const SALT_BYTES = 32

export type KeySlot = Readonly<{
  format: 'holdfast-key-slot'
  /** 16 hex digits. */
  id: string
  /** Which repository's key is wrapped: an init that died or lost a race leaves a slot of a repository that never was. */
  repository: string
  kind: Credential['kind']
  label: string
  createdAt: string
  salt: string
  cost?: KdfCost
  wrapped: string
}>

const slotKey = (id: string): string => `keys/${id}`
export const keyOfSlot = ({ id }: KeySlot): BlobKey => slotKey(id)

/** Derived in another thread, for it takes a fifth of a second and more: the caller's is free meanwhile. */
const deriveArgon2 = promisify(argon2)

async function wrappingKey(credential: Credential, salt: Uint8Array, cost: KdfCost): Promise<SealingKey> {
  if (credential.kind === 'key-file') {
    return new SealingKey(new Uint8Array(hkdfSync('sha256', credential.bytes, salt, 'holdfast/1 key file', KEY_BYTES)))
  }
  return new SealingKey(
    await deriveArgon2('argon2id', {
      message: Buffer.from(credential.passphrase.normalize('NFKC')),
      nonce: salt,
      parallelism: cost.parallelism,
      tagLength: KEY_BYTES,
      memory: cost.memoryKib,
      passes: cost.passes,
    }),
  )
}

function wrapAad(repositoryId: string, slotId: string): Uint8Array {
  return Buffer.from(`holdfast/1 key slot ${repositoryId} ${slotId}`)
}

function checkCredential(credential: Credential): void {
  const tooShort =
    credential.kind === 'passphrase' ? credential.passphrase === '' : credential.bytes.length < KEY_FILE_BYTES_MIN
  if (!tooShort) return
  throw new RepositoryError('key_wrong', 'The passphrase is empty or the key file is shorter than 32 bytes.', {
    hint: 'Give a passphrase, or make a key file with "head -c 32 /dev/urandom".',
  })
}

/** A mirror's slots are those of its repository. @throws repository_is_mirror */
async function refuseMirror(store: BlobStore): Promise<void> {
  if ((await readMirrorMark(store)) !== undefined) throw isMirrorError(store.location)
}

/** Stores the master under a new slot that `credential` opens. @throws key_wrong, key_slot_limit, repository_is_mirror */
export async function addKeySlot(
  store: BlobStore,
  master: Uint8Array,
  options: Readonly<{
    repositoryId: string
    credential: Credential
    label: string
    nowIso: string
    random: Random
    cost?: KdfCost
  }>,
): Promise<KeySlot> {
  checkCredential(options.credential)
  await refuseMirror(store)
  if ((await listKeySlots(store, options.repositoryId)).length >= SLOTS_MAX)
    throw new RepositoryError('key_slot_limit', `A repository has at most ${SLOTS_MAX} key slots.`, {
      hint: 'Remove one that is not needed any more with "holdfast repo keys STORE remove".',
    })
  const cost = options.cost ?? KDF_COST_DEFAULT
  const id = toHex(options.random.bytes(8))
  const salt = options.random.bytes(SALT_BYTES)
  const kek = await wrappingKey(options.credential, salt, cost)
  const { ciphertext, tag } = kek.seal(0, wrapAad(options.repositoryId, id), master)
  const slot: KeySlot = {
    format: 'holdfast-key-slot',
    id,
    repository: options.repositoryId,
    kind: options.credential.kind,
    label: options.label,
    createdAt: options.nowIso,
    salt: Buffer.from(salt).toString('base64'),
    ...(options.credential.kind === 'passphrase' ? { cost } : {}),
    wrapped: Buffer.concat([ciphertext, tag]).toString('base64'),
  }
  await store.put(slotKey(id), [toJsonBytes(slot)])
  return slot
}

function isCostSane(cost: Partial<KdfCost>): cost is KdfCost {
  return (['memoryKib', 'passes', 'parallelism'] as const).every((field) => {
    const value = cost[field]
    return typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= KDF_COST_MAX[field]
  })
}

/** No bytes when another process has removed the slot since it was listed. */
async function getUnlessGone(store: BlobStore, key: string): Promise<Uint8Array> {
  try {
    return await store.get(key)
  } catch (error) {
    if (isHoldfastError(error, 'blob_not_found')) return new Uint8Array()
    throw error
  }
}

function isBase64Of(value: unknown, bytes: number): boolean {
  return typeof value === 'string' && Buffer.from(value, 'base64').length === bytes
}

function decodeSlot(bytes: Uint8Array): KeySlot | undefined {
  const slot = parseObject(bytes) as Partial<KeySlot> | undefined
  const wellFormed =
    slot?.format === 'holdfast-key-slot' &&
    typeof slot.id === 'string' &&
    typeof slot.repository === 'string' &&
    isBase64Of(slot.salt, SALT_BYTES) &&
    isBase64Of(slot.wrapped, KEY_BYTES + TAG_BYTES) &&
    (slot.kind === 'key-file' || (slot.kind === 'passphrase' && isCostSane(slot.cost ?? {})))
  return wellFormed ? (slot as KeySlot) : undefined
}

/**
 * All readable slots of the repository, the cheapest to try first, so that planted costly ones do not keep a good one from
 * opening. Unreadable ones are left out: any other slot still opens the repository.
 */
export async function listKeySlots(store: BlobStore, repositoryId: string): Promise<KeySlot[]> {
  const slots: KeySlot[] = []
  for await (const { key, sizeBytes } of store.list('keys/')) {
    if (slots.length >= SLOTS_READ_MAX || sizeBytes > KEY_SLOT_BYTES_MAX) continue
    const slot = decodeSlot(await getUnlessGone(store, key))
    if (slot !== undefined && key === slotKey(slot.id) && slot.repository === repositoryId) slots.push(slot)
  }
  const costOf = ({ cost }: KeySlot): number => (cost === undefined ? 0 : cost.memoryKib * cost.passes)
  return slots.sort((a, b) => costOf(a) - costOf(b))
}

async function openSlot(slot: KeySlot, credential: Credential): Promise<Uint8Array | undefined> {
  if (slot.kind !== credential.kind) return undefined
  const kek = await wrappingKey(credential, Buffer.from(slot.salt, 'base64'), slot.cost ?? KDF_COST_DEFAULT)
  return kek.open(0, wrapAad(slot.repository, slot.id), Buffer.from(slot.wrapped, 'base64'))
}

/** How much speaks for the bytes of a slot: 1 they are none of this repository, 2 they decode, 3 the key opens them. */
export type SlotFit = 1 | 2 | 3

export async function slotFitOf(
  bytes: Uint8Array,
  { key, id, credential }: Readonly<{ key: BlobKey; id: string; credential?: Credential | undefined }>,
): Promise<SlotFit> {
  const slot = decodeSlot(bytes)
  if (slot === undefined || key !== slotKey(slot.id) || slot.repository !== id) return 1
  return credential !== undefined && (await openSlot(slot, credential)) !== undefined ? 3 : 2
}

/** The master key. @throws key_wrong when no slot opens, repository_damaged when there is no slot at all */
export async function openMaster(
  store: BlobStore,
  repositoryId: string,
  credential: Credential,
): Promise<{ master: Uint8Array; slotId: string }> {
  checkCredential(credential)
  const slots = await listKeySlots(store, repositoryId)
  if (slots.length === 0) {
    throw new RepositoryError('repository_damaged', `The repository at ${store.location} has no readable key slot.`, {
      facts: { location: store.location },
      hint: 'Copy the objects under "keys/" back from a mirror or backup of this store.',
    })
  }
  for (const slot of slots) {
    const master = await openSlot(slot, credential)
    if (master !== undefined) return { master, slotId: slot.id }
  }
  throw new RepositoryError(
    'key_wrong',
    `The ${credential.kind === 'passphrase' ? 'passphrase' : 'key file'} does not open the repository at ${store.location}.`,
    {
      facts: { location: store.location, slotsTried: slots.length },
      hint: 'Check HOLDFAST_PASSPHRASE, HOLDFAST_PASSPHRASE_FILE or HOLDFAST_KEY_FILE. Without a key the data cannot be recovered by anyone.',
    },
  )
}

/**
 * Drops a slot. Of two who drop the last two slots at once, each puts its own back when it finds no other left.
 * @throws key_slot_not_found, key_slot_last, repository_is_mirror
 */
export async function removeKeySlot(store: BlobStore, repositoryId: string, id: string): Promise<void> {
  await refuseMirror(store)
  const slots = await listKeySlots(store, repositoryId)
  const slot = slots.find((candidate) => candidate.id === id)
  if (slot === undefined) {
    throw new RepositoryError('key_slot_not_found', `There is no key slot ${id}.`, { facts: { slot: id } })
  }
  if (slots.length === 1) throw lastSlot(id)
  await store.delete(slotKey(id))
  if ((await listKeySlots(store, repositoryId)).length > 0) return
  await store.put(slotKey(id), [toJsonBytes(slot)])
  throw lastSlot(id)
}

function lastSlot(id: string): RepositoryError {
  return new RepositoryError(
    'key_slot_last',
    'The last key slot cannot be removed: nobody could open the repository again.',
    { facts: { slot: id }, hint: 'Add another slot first with "holdfast repo keys STORE add".' },
  )
}
