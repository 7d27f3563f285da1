/**
 * Vault repositories below what an administrator names: a store of a region (its vaults lie at `vaults/<uid>`), the folder `vaults` itself, or one
 * vault. Nothing is written, and no key is needed to find one.
 */
import { readdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { errnoOf, isHoldfastError } from '#base'
import {
  formatStoreLocation,
  openStore,
  parseStoreLocation,
  readConfig,
  readMirrorMark,
  type StoreDescriptor,
} from '#engine/repository'

export type FoundVault = Readonly<{
  location: string
  /** By the folder that it lies in; undefined where that says nothing. */
  uid: string | undefined
  repositoryId: string
  /** It is the mirror of a vault. */
  isMirror: boolean
}>

const UID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** @throws store_location_invalid, and what the store throws */
export async function findVaults(from: string): Promise<FoundVault[]> {
  const descriptor = parseStoreLocation(from)
  const places = [from, ...(await placesBelow(descriptor))]
  const found: FoundVault[] = []
  for (const location of places) {
    const vault = await lookAt(location)
    // The region's own repository, with its snapshots, lies beside the vaults and is none.
    if (vault !== undefined && (vault.uid !== undefined || places.length === 1)) found.push(vault)
  }
  return found
}

async function placesBelow(descriptor: StoreDescriptor): Promise<string[]> {
  if (descriptor.kind === 'folder') {
    const inside = [join(descriptor.path, 'vaults'), descriptor.path]
    for (const folder of inside) {
      const uids = (await namesIn(folder)).filter((name) => UID.test(name))
      if (uids.length > 0) return uids.map((uid) => join(folder, uid))
    }
    return []
  }
  if (descriptor.kind !== 's3') return []
  const uids = new Set<string>()
  const store = await openStore(descriptor)
  try {
    for await (const { key } of store.list('vaults/')) {
      const [, uid = '', rest] = key.split('/')
      if (rest === 'config' && UID.test(uid)) uids.add(uid)
    }
  } finally {
    await store.close()
  }
  return [...uids].map((uid) => formatStoreLocation({ ...descriptor, prefix: `${descriptor.prefix}vaults/${uid}/` }))
}

async function namesIn(folder: string): Promise<string[]> {
  try {
    return await readdir(folder)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return []
    throw error
  }
}

function uidOf(location: string): string | undefined {
  const descriptor = parseStoreLocation(location)
  const path = descriptor.kind === 'folder' ? descriptor.path : descriptor.kind === 's3' ? descriptor.prefix : ''
  const name = basename(path)
  return UID.test(name) ? name : undefined
}

async function lookAt(location: string): Promise<FoundVault | undefined> {
  const store = await openStore(location)
  try {
    const { id } = await readConfig(store)
    return { location, uid: uidOf(location), repositoryId: id, isMirror: (await readMirrorMark(store)) !== undefined }
  } catch (error) {
    if (isHoldfastError(error, 'repository_not_found')) return undefined
    throw error
  } finally {
    await store.close()
  }
}
