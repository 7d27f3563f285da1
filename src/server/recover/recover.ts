/**
 * holdfast recover: a home on a new machine from nothing but stores with vaults (or their mirrors) and key files.
 *
 *   step                                             a crash right after it leaves
 *   1 look at every place; open with the keys        nothing
 *   2 the newest copy of the catalog, to a file      a `.tmp-*` file in the home's folder `run`
 *   3 the home: identity, administrator, settings    a home without vaults; the same command goes on with it
 *   4 key files of the vaults in `keys`              likewise
 *   5 the records, in one transaction                all of them
 *   6 promotions, if asked for                       a mirror that is a repository of its own; the command says so and may be run again
 *
 * The stores are read, and but for a promotion never written to: whatever is left of the old server may still use them. A home that has resources is
 * refused and left as it is. With tenant and subscription of the old server, every id is what it was.
 */
import { access, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Clock, isHoldfastError, messageOf, type Random, randomUuid, WRITER } from '#base'
import { Catalog, putSetting } from '#catalog'
import { openStore, promoteMirror, type RepositoryEnvironment } from '#engine/repository'
import { createFileOnce, makeFolderDurable } from '#runtime'
import { vaultKeyPath } from '#jobs'
import { ServerError } from '../errors.ts'
import type { Home } from '../home.ts'
import { initHome, type Initialised, lockHome } from '../init-home.ts'
import { findVaults, type FoundVault } from './find-vaults.ts'
import { type FoundPair, type Imported, openedOf, RecordImport } from './import-records.ts'
import { type Key, openVault, type OpenedVault, restoreCatalog } from './read-vault.ts'

export type RecoverWish = Readonly<{
  from: readonly string[]
  keyFiles: readonly string[]
  /** Mirrors that stand in for a vault that was not found become repositories of their own. */
  promote: boolean
}>

export type RecoveredVault = Readonly<{
  uid: string
  location: string
  isMirror: boolean
  promoted: boolean
  points: number
  newestPointAt?: string
  immutability: string
}>

export type Recovered = Readonly<{
  home: Initialised
  vaults: readonly RecoveredVault[]
  /** Found, and opened by none of the keys. */
  closed: readonly FoundVault[]
  /** When the copy of the catalog was made that was used; undefined: the points alone were. */
  catalogOf?: string
  /** Why a copy of the catalog was passed over, and which points nobody knows. */
  notes: readonly string[]
  records: Imported
}>

type Source = Readonly<{ clock: Clock; random: Random }>

/** @throws ServerError `home_not_empty`, `nothing_to_recover`, and what stores and catalog throw */
export async function recover(home: Home, wish: RecoverWish, source: Source): Promise<Recovered> {
  await refuseUsed(home, source)
  const environment = environmentOf(home, source)
  const { pairs, closed } = await openAll(wish, environment)
  const notes: string[] = []
  const path = join(home.folder, 'run', '.tmp-recovered-catalog')
  await rm(path, { force: true })
  try {
    const chosen = await bringCatalog(pairs, path, environment, source.clock, notes)
    try {
      await keepIdentity(home, chosen?.identity ?? identityOf(pairs), source.clock)
      const made = await initHome(home, source)
      for (const pair of pairs) await keepKey(home, pair)
      const records = await importAll(home, pairs, chosen?.catalog, source, notes)
      const vaults: RecoveredVault[] = []
      for (const pair of pairs) vaults.push(await settle(pair, wish.promote))
      return { home: made, vaults, closed, notes, records, ...(chosen !== undefined && { catalogOf: chosen.takenAt }) }
    } finally {
      await chosen?.catalog.close()
    }
  } finally {
    for (const suffix of ['', '-wal', '-shm']) await rm(`${path}${suffix}`, { force: true })
  }
}

function environmentOf(home: Home, { clock, random }: Source): RepositoryEnvironment {
  return { clock, random, cacheFolder: join(home.folder, 'cache'), writer: WRITER }
}

/** A home that holds resources is somebody's. */
async function refuseUsed(home: Home, { clock }: Source): Promise<void> {
  const isThere = await access(home.catalog).then(
    () => true,
    () => false,
  )
  if (!isThere) return
  const lock = lockHome(home)
  try {
    const catalog = await Catalog.open(home.catalog, clock)
    try {
      const { count } = await catalog.db
        .selectFrom('resource')
        .select(({ fn }) => fn.countAll<number>().as('count'))
        .executeTakeFirstOrThrow()
      if (count === 0) return
      throw new ServerError('home_not_empty', `The home ${home.folder} has ${count} resources already.`, {
        facts: { home: home.folder, resources: count },
        hint: 'Recover into a home of its own: give another folder with --home. Nothing was changed.',
      })
    } finally {
      await catalog.close()
    }
  } finally {
    lock.release()
  }
}

async function openAll(
  { from, keyFiles }: RecoverWish,
  environment: RepositoryEnvironment,
): Promise<{ pairs: FoundPair[]; closed: FoundVault[] }> {
  const keys: Key[] = []
  for (const path of keyFiles) keys.push({ path, bytes: new Uint8Array(await readFile(path)) })
  const found = (await Promise.all(from.map(findVaults))).flat()
  const pairs = new Map<string, FoundPair>()
  const closed: FoundVault[] = []
  for (const one of found) {
    const opened = await openVault(one, keys, environment)
    if (opened === undefined) closed.push(one)
    else {
      const uid = uidOf(opened)
      const side = opened.isMirror ? 'mirror' : 'primary'
      refuseTwins(pairs.get(uid)?.[side], opened)
      pairs.set(uid, { ...pairs.get(uid), uid, [side]: opened })
    }
  }
  if (pairs.size > 0) return { pairs: [...pairs.values()], closed }
  throw new ServerError('nothing_to_recover', reasonFor(from, found), {
    facts: { from, found: found.map(({ location }) => location), keys: keyFiles },
    hint: 'Name the store of a region, or one vault in it, and the vault’s key file with --key (the home had it in "keys/vault-<uid>.key").',
  })
}

/** Two that both say that they are the vault: only somebody who knows can say which is. */
function refuseTwins(known: OpenedVault | undefined, { uid, location }: OpenedVault): void {
  if (known === undefined || known.location === location) return
  throw new ServerError('recover_ambiguous', `${known.location} and ${location} are both the same vault.`, {
    facts: { uid: uid ?? '', one: known.location, other: location },
    hint: 'Name with --from only the one that is right: the other may be an older copy. Nothing was changed.',
  })
}

function reasonFor(from: readonly string[], found: readonly FoundVault[]): string {
  if (found.length === 0) return `No vault lies at ${from.join(', ')}.`
  return `None of the keys opens ${found.map(({ location }) => location).join(', ')}.`
}

/** A vault that lies elsewhere than it was made is known by its repository. */
function uidOf({ uid, repositoryId: id }: OpenedVault): string {
  if (uid !== undefined) return uid
  return [id.slice(0, 8), id.slice(8, 12), id.slice(12, 16), id.slice(16, 20), id.slice(20)].join('-')
}

type Identity = Readonly<{ subscription?: string | undefined; tenant?: string | undefined }>
type Chosen = Readonly<{ catalog: Catalog; identity: Identity; takenAt: string }>

/** The newest copy of the catalog that opens, in whichever vault or mirror; one that does not is passed over and told of. */
async function bringCatalog(
  pairs: readonly FoundPair[],
  path: string,
  environment: RepositoryEnvironment,
  clock: Clock,
  notes: string[],
): Promise<Chosen | undefined> {
  const vaults = pairs.flatMap(({ primary, mirror }) => [primary ?? [], mirror ?? []].flat())
  const copies = vaults.flatMap((vault) => vault.catalogs.map((copy) => ({ vault, ...copy })))
  for (const { vault, point, facts } of copies.sort((a, b) => (a.point.takenAt < b.point.takenAt ? 1 : -1))) {
    try {
      await restoreCatalog(vault, point, path, environment)
      return { catalog: await Catalog.open(path, clock), identity: { ...facts }, takenAt: point.takenAt }
    } catch (error) {
      if (!isHoldfastError(error)) throw error
      notes.push(
        `The copy of the catalog of ${point.takenAt} in ${vault.location} was passed over: ${messageOf(error)}`,
      )
      await rm(path, { force: true })
    }
  }
  return undefined
}

/** The subscription that the points speak of. */
function identityOf(pairs: readonly FoundPair[]): Identity {
  return { subscription: openedOf(pairs[0] ?? { uid: '' }).points[0]?.machine.subscription }
}

async function keepIdentity(home: Home, { subscription, tenant }: Identity, clock: Clock): Promise<void> {
  const catalog = await Catalog.open(home.catalog, clock)
  try {
    await catalog.write(async (trx) => {
      if (subscription !== undefined) await putSetting(trx, 'subscription', subscription)
      if (tenant !== undefined) await putSetting(trx, 'tenant', tenant)
    })
  } finally {
    await catalog.close()
  }
}

async function keepKey(home: Home, pair: FoundPair): Promise<void> {
  const path = vaultKeyPath(join(home.folder, 'keys'), pair.uid)
  await makeFolderDurable(join(home.folder, 'keys'))
  await createFileOnce(path, [openedOf(pair).key.bytes])
}

async function importAll(
  home: Home,
  pairs: readonly FoundPair[],
  old: Catalog | undefined,
  { clock, random }: Source,
  notes: string[],
): Promise<Imported> {
  const catalog = await Catalog.open(home.catalog, clock)
  try {
    const source = { nowMs: () => clock.nowMs(), newEtag: () => `W/"${randomUuid(random)}"` }
    const records = new RecordImport(catalog, source)
    await records.run(pairs, old)
    notes.push(...records.notes)
    return records.done
  } finally {
    await catalog.close()
  }
}

async function settle(pair: FoundPair, promote: boolean): Promise<RecoveredVault> {
  const vault = openedOf(pair)
  const stands = pair.primary === undefined
  const promoted = stands && promote && (await promoteAt(vault.location))
  const newest = vault.points.at(-1)?.point.takenAt
  return {
    uid: pair.uid,
    location: vault.location,
    isMirror: stands,
    promoted,
    points: vault.points.length,
    ...(newest !== undefined && { newestPointAt: newest }),
    immutability: vault.immutability.state,
  }
}

async function promoteAt(location: string): Promise<boolean> {
  const store = await openStore(location)
  try {
    return await promoteMirror(store)
  } finally {
    await store.close()
  }
}
