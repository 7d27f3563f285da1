/**
 * Verifying a repository: everything that can be known without the key (names, lengths, the chain of the log), and with
 * it every chunk of every pack and every manifest of every point. Damage is a result, never an exception.
 *
 * With the key it also tells this user's index which packs are hurt, so that the next backup that reads the same content
 * stores it again instead of relying on them: the points that lost it are whole again then.
 *
 * Without the key the points of a damaged pack are an upper bound (the closure in the log's envelopes); with it they are
 * exact: those that lose a chunk of which no good copy is left.
 */
import { type Clock, type ProgressSink, type Random, silentProgress } from '#base'
import {
  type BlobStore,
  type CommitLog,
  type Damage,
  findStrays,
  frameDamages,
  logDamages,
  NO_PACK,
  type PackInjury,
  type PackRef,
  packKeyOf,
  type PointRecord,
  readConfig,
  readWholeLog,
  type Repository,
  restsOnByClosure,
  rollBackDamage,
  type StoreDescriptor,
  TreeCheck,
} from '#engine/repository'
import type { VerifyResult } from './threads/verify-runner.ts'
import { defaultThreads, ThreadPool } from './threads/thread-pool.ts'

export type VerifyOptions = Readonly<{
  store: StoreDescriptor | BlobStore
  threads?: number
  progress?: ProgressSink
  signal?: AbortSignal
}>

export type VerifyReport = Readonly<{ ok: boolean; checkedBytes: number; packs: number; damage: readonly Damage[] }>

export type Checked = Readonly<{
  injuries: Map<number, PackInjury>
  missing: Set<number>
  sessions: number[]
  checkedBytes: number
  packs: number
}>

/** Looks at every pack that the log names; which are hurt, and how. */
export async function checkPacks(
  log: CommitLog,
  keys: Repository['keys'] | undefined,
  options: Pick<VerifyOptions, 'store' | 'threads' | 'progress' | 'signal'>,
): Promise<Checked> {
  const { progress = silentProgress } = options
  const packs = log.state.packs.filter(({ status }) => status !== 'deleted')
  const totalBytes = packs.reduce((sum, pack) => sum + pack.lengthBytes, 0)
  const threads = 'put' in options.store ? 0 : (options.threads ?? defaultThreads())
  const init = {
    store: options.store,
    ...(keys === undefined ? {} : { keys: { master: keys.master, repositoryId: keys.repositoryId } }),
  }
  const pool = await ThreadPool.start('verify', init, { threads, signal: options.signal })
  const checked = {
    injuries: new Map<number, PackInjury>(),
    missing: new Set<number>(),
    sessions: [] as number[],
    checkedBytes: 0,
    packs: packs.length,
  }
  try {
    const ordinals = new Map(packs.map(({ name, ordinal }) => [name, ordinal]))
    const tasks = packs.map(({ name, lengthBytes }): PackRef => ({ name, lengthBytes }))
    await pool.runAll(tasks, (result: VerifyResult) => {
      const ordinal = ordinals.get(result.pack) ?? NO_PACK
      checked.checkedBytes += result.checkedBytes
      if (result.session !== undefined && result.state === 'intact') checked.sessions.push(result.session)
      if (result.state === 'missing') checked.missing.add(ordinal)
      if (result.state !== 'intact')
        checked.injuries.set(ordinal, result.badChunks === 'all' ? 'all' : new Set(result.badChunks))
      progress({ task: 'Verifying packs', doneBytes: checked.checkedBytes, totalBytes })
    })
  } finally {
    await pool.close()
  }
  await passOverPruned(log, checked)
  return checked
}

/** What a prune beside us gave up and deleted while we looked is no damage. */
async function passOverPruned(log: CommitLog, checked: Checked): Promise<void> {
  if (checked.injuries.size === 0) return
  await log.refresh()
  for (const ordinal of checked.injuries.keys()) {
    if (log.state.packs[ordinal]?.status !== 'deleted') continue
    checked.injuries.delete(ordinal)
    checked.missing.delete(ordinal)
  }
}

/** Points that were forgotten while we looked may have lost chunks by right. */
async function passOverForgotten(log: CommitLog, touched: Map<number, string[]>): Promise<void> {
  await log.refresh()
  for (const [ordinal, ids] of touched) {
    const live = ids.filter((id) => log.state.points.has(id))
    if (live.length > 0) touched.set(ordinal, live)
    else touched.delete(ordinal)
  }
}

function nameOf(log: CommitLog, ordinal: number): string {
  return log.state.packs[ordinal]?.name ?? ''
}

function packDamages(log: CommitLog, checked: Checked, pointsOf: (ordinal: number) => string[]): Damage[] {
  return [...checked.injuries.keys()].map((ordinal) => ({
    kind: checked.missing.has(ordinal) ? 'pack_missing' : 'pack_corrupt',
    object: packKeyOf(nameOf(log, ordinal)),
    points: pointsOf(ordinal),
  }))
}

/**
 * Chunks that are in no known pack: the table of a pack that is gone or unreadable may have held them, so its closure says
 * which; what no such pack explains is damage of its own. Moves explained points to the packs in `touched`.
 */
function unexplainedLosses(log: CommitLog, checked: Checked, touched: Map<number, string[]>): Damage[] {
  const unreadable = [...checked.injuries].filter(([, injury]) => injury === 'all').map(([ordinal]) => ordinal)
  const unexplained = (touched.get(NO_PACK) ?? []).filter((id) => {
    const header = log.state.points.get(id)?.header
    const closure = header === undefined ? new Set<number>() : log.state.closureOf(header)
    const packs = unreadable.filter((ordinal) => closure.has(ordinal))
    for (const ordinal of packs) touched.set(ordinal, [...new Set([...(touched.get(ordinal) ?? []), id])])
    return packs.length === 0
  })
  return unexplained.length === 0 ? [] : [{ kind: 'chunk_missing', object: 'packs/', points: unexplained }]
}

async function report(
  store: BlobStore,
  repositoryId: string,
  log: CommitLog,
  checked: Checked,
  packAndChunkDamage: readonly Damage[],
  ofLog: readonly Damage[],
): Promise<VerifyReport> {
  const strays = await findStrays(store, log)
  const sessions = [...checked.sessions, ...strays.map(({ session }) => session)]
  // Sessions may have begun since the log was read: one that is still ahead of it after this is ahead for good.
  if (sessions.some((session) => session > log.state.head)) await log.refresh()
  const damage = [
    ...(await frameDamages(store, repositoryId)),
    ...ofLog,
    ...rollBackDamage(log, sessions),
    ...packAndChunkDamage,
  ]
  return { ok: damage.length === 0, checkedBytes: checked.checkedBytes, packs: checked.packs, damage }
}

/** Verifies all that can be verified without a key. @throws repository_not_found, repository_too_new, and what the store throws */
export async function verifyWithoutKey(
  store: BlobStore,
  environment: Readonly<{ clock: Clock; random: Random }>,
  options: VerifyOptions,
): Promise<VerifyReport> {
  const config = await readConfig(store)
  const whole = await readWholeLog({ store, repositoryId: config.id, ...environment, writer: '' })
  const { log, checkpointDamage } = whole
  const checked = await checkPacks(log, undefined, options)
  // Closures cost as much as chains are long, so they are only made when there is damage to explain.
  const points = checked.injuries.size === 0 ? [] : [...log.state.points]
  const closures = points.map(([id, { header }]) => ({ id, closure: log.state.closureOf(header) }))
  const pointsOf = (ordinal: number): string[] =>
    closures.filter(({ closure }) => closure.has(ordinal)).map(({ id }) => id)
  return report(store, config.id, log, checked, packDamages(log, checked, pointsOf), [
    ...logDamages(log),
    ...checkpointDamage,
  ])
}

/** Verifies everything, or with `only` all packs and the manifests of these points. */
export async function verifyWithKey(
  repository: Repository,
  options: VerifyOptions & Readonly<{ only?: readonly PointRecord[] }>,
): Promise<VerifyReport> {
  const { log, keys, store } = repository
  const checked = await checkPacks(log, keys, options)
  // The points first: the index is then at least as new, also when other sessions of this process move the log on.
  const points = options.only ?? repository.points()
  const reader = await repository.chunkReader()
  const index = (await repository.index()).reader
  const check = new TreeCheck(keys, index, (content) => reader.read(content), checked.injuries)
  const touched = new Map<number, string[]>()
  for (const point of points) {
    for (const ordinal of await check.point(point)) touched.set(ordinal, [...(touched.get(ordinal) ?? []), point.id])
  }
  if (touched.size > 0) await passOverForgotten(log, touched)
  // Exact, as the points of packs are: of those that may rest on a lost entry, the ones that lose a chunk.
  const whole = await repository.readWholeLog()
  const restsOn = restsOnByClosure(whole.log)
  const lossy = new Set(touched.get(NO_PACK) ?? [])
  const logDamage = logDamages(whole.log, (id, loss) => lossy.has(id) && restsOn(id, loss))
  const explained = new Set(logDamage.flatMap(({ points }) => points))
  if (explained.size > 0)
    touched.set(
      NO_PACK,
      [...lossy].filter((id) => !explained.has(id)),
    )
  // Read-only where it counts, the store: what was learnt is kept beside this user's index, for the next backup to go by.
  await (await repository.index()).suspect([...checked.injuries.keys()].map((ordinal) => nameOf(log, ordinal)))
  const chunkDamage = unexplainedLosses(log, checked, touched)
  const rollback: Damage[] =
    repository.rollback === undefined ? [] : [{ kind: 'log_rolled_back', object: 'log/', points: [] }]
  const found = await report(
    store,
    repository.config.id,
    log,
    checked,
    [...packDamages(log, checked, (ordinal) => touched.get(ordinal) ?? []), ...chunkDamage],
    [...logDamage, ...whole.checkpointDamage],
  )
  if (rollback.length === 0 || found.damage.some(({ kind }) => kind === 'log_rolled_back')) return found
  return { ...found, ok: false, damage: [...found.damage, ...rollback] }
}
