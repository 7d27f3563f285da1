/**
 * Carrying a prune out. The order of writes is the safety:
 *
 *   step            written                             a crash right after it leaves
 *   1 pin           a pin                               a pin that runs out
 *   2 rewrite       new packs, then an entry naming     chunks with two copies; the next prune drops one
 *   3 tombstones    one entry: packs that are doomed    doomed packs: new backups do not rely on them, the next prune goes on
 *   4 deletions     one entry: packs that are gone      objects without a meaning; the next prune removes them (leftovers)
 *   5 delete        nothing; objects go                 likewise
 *
 * Between reading and steps 3 and 4 others may commit. Both entries are decided again under the number that they take:
 * what a newer point names is not doomed, what was revived is not deleted, and nothing is deleted while a pin older than
 * the tombstones lasts. After step 4 no entry may name these packs (commit-check.ts), so step 5 needs no care.
 */
import { assert, type Clock, isHoldfastError, type ProgressSink, type Random, silentProgress } from '#base'
import { PackBuilder, PACK_BUFFER_BYTES } from '../pack-builder.ts'
import { packKeyOf } from '../pack-format.ts'
import { openChunk, readPackTable, readSealed } from '../pack-reader.ts'
import type { PackAdded } from '../log/entry.ts'
import { encodeOrdinals } from '../log/ordinals.ts'
import type { LogState } from '../log/state.ts'
import type { Repository } from '../repository.ts'
import { findStrays } from '../verify/damage.ts'
import { mark, type Marks } from './mark.ts'
import { planPrune, PRUNE_DEFAULTS, type PruneOptions, type PrunePlan } from './plan.ts'

export type PruneReport = Readonly<{
  plan: PrunePlan
  /** Packs whose objects were deleted. */
  deleted: number
  freedBytes: number
  /** Doomed, but held by sessions that are at work: the next prune deletes them. */
  heldBack: number
  heldBy: readonly string[]
}>

export type PruneEnvironment = Readonly<{ clock: Clock; random: Random; progress?: ProgressSink; signal?: AbortSignal }>

/** Plans without writing anything. @throws chunk_missing, log_damaged, and what the store throws */
export async function preparePrune(
  repository: Repository,
  environment: PruneEnvironment,
  options: Partial<PruneOptions> = {},
): Promise<{ plan: PrunePlan; marks: Marks; head: number }> {
  await repository.log.refresh()
  repository.log.assertWritable()
  const head = repository.log.state.head
  const marks = await mark(repository, environment.signal)
  const strays = await findStrays(repository.store, repository.log)
  const full = { ...PRUNE_DEFAULTS, ...options, nowMs: environment.clock.nowMs() }
  return { plan: planPrune(repository.log.state, marks.neededBytes, strays, full), marks, head }
}

/** Plans and carries out. @throws as preparePrune */
export async function prune(
  repository: Repository,
  environment: PruneEnvironment,
  options: Partial<PruneOptions> = {},
): Promise<PruneReport> {
  const session = await repository.beginSession('prune')
  try {
    const { plan, marks, head } = await preparePrune(repository, environment, options)
    await rewrite(repository, session.number, plan, marks, environment)
    const doomedAt = await writeTombstones(repository, plan, head)
    const decided = await writeDeletions(repository, session.number, doomedAt, environment.clock, plan, marks)
    const freedBytes = await deleteObjects(repository, [...decided.names, ...plan.leftovers])
    return {
      plan,
      deleted: decided.names.length + plan.leftovers.length,
      freedBytes,
      heldBack: decided.heldBack,
      heldBy: decided.heldBy,
    }
  } finally {
    await session.end()
  }
}

/** Copies the needed chunks of the packs to be rewritten into new packs, without opening more than the seal. */
async function rewrite(
  repository: Repository,
  session: number,
  plan: PrunePlan,
  marks: Marks,
  environment: PruneEnvironment,
): Promise<void> {
  if (plan.rewrite.length === 0) return
  const { store, keys, log } = repository
  const { progress = silentProgress, random } = environment
  const packs: PackAdded[] = []
  const buffer = new Uint8Array(PACK_BUFFER_BYTES)
  let builder = new PackBuilder(keys, random, session, buffer)
  const flush = async (): Promise<void> => {
    if (builder.isEmpty) return
    const { name, bytes } = builder.finish()
    await store.put(packKeyOf(name), [bytes])
    packs.push({ name, lengthBytes: bytes.length })
    builder = new PackBuilder(keys, random, session, buffer)
  }
  let doneBytes = 0
  for (const name of plan.rewrite) {
    environment.signal?.throwIfAborted()
    const pack = log.state.packNamed(name)
    assert(pack !== undefined, 'The plan names packs of the log')
    const { salt, chunks } = await readPackTable(store, keys, pack)
    const key = keys.packKey(salt)
    for (const chunk of chunks.filter(({ id, kind }) => kind !== 'delta' && marks.isNeeded(id, pack.ordinal))) {
      const sealed = await readSealed(store, pack, chunk.offset, chunk.sealedBytes)
      builder.addCompressed(chunk, openChunk(keys, key, name, chunk, sealed))
      doneBytes += chunk.sealedBytes
      if (builder.isFull) await flush()
      progress({ task: 'Rewriting packs', doneBytes, totalBytes: plan.rewrittenBytes })
    }
  }
  await flush()
  await log.append((state) => {
    const from = encodeOrdinals(plan.rewrite.flatMap((name) => state.packNamed(name)?.ordinal ?? []))
    const to = encodeOrdinals(packs.map((_, i) => state.packs.length + i))
    return { fields: { packs, moved: { from, to } } }
  })
}

/** The packs that points committed after `head` name: they are not doomed, whatever the plan thought. */
function namedSince(state: LogState, head: number): Set<string> {
  const named = new Set<string>()
  for (const { header, number } of state.points.values()) {
    if (number <= head) continue
    for (const ordinal of state.closureOf(header)) named.add(state.packs[ordinal]?.name ?? '')
  }
  return named
}

/** The number of the entry that dooms; 0 when there was nothing to doom. */
async function writeTombstones(repository: Repository, plan: PrunePlan, head: number): Promise<number> {
  const wanted = [...plan.drop, ...plan.rewrite, ...plan.strays]
  if (wanted.length === 0) return 0
  return repository.log.append((state) => {
    const named = namedSince(state, head)
    const stillStray = (name: string): boolean => plan.strays.includes(name) && state.packNamed(name) === undefined
    const tombstones = wanted.filter(
      (name) => !named.has(name) && !state.isDeleted(name) && (!plan.strays.includes(name) || stillStray(name)),
    )
    return { fields: { tombstones } }
  })
}

type Decision = { names: string[]; heldBack: number; heldBy: string[] }

/** Decides under its own number what goes for good. Everything doomed is looked at, that of earlier prunes too. */
async function writeDeletions(
  repository: Repository,
  ownPin: number,
  doomedAt: number,
  clock: Clock,
  plan: PrunePlan,
  marks: Marks,
): Promise<Decision> {
  // Asked once more of every pack, however it came to be doomed: what a live point needs is not deleted.
  const isGivenUp = ({ ordinal, name }: { ordinal: number; name: string }): boolean =>
    (marks.neededBytes.get(ordinal) ?? 0) === 0 || plan.rewrite.includes(name)
  const decide = (state: LogState): Decision => {
    const doomed = [
      ...state.packs.filter((pack) => pack.status === 'doomed' && isGivenUp(pack)).map(({ name }) => name),
      ...state.doomedStrays,
    ]
    const pins = state
      .activePins(clock.nowMs())
      .filter(([number]) => number !== ownPin && (doomedAt === 0 || number < doomedAt))
    if (pins.length === 0) return { names: doomed, heldBack: 0, heldBy: [] }
    return {
      names: [],
      heldBack: doomed.length,
      heldBy: pins.map(([number, pin]) => `${pin.purpose} (entry ${number}, ${pin.holder})`),
    }
  }
  let decision = decide(repository.log.state)
  if (decision.names.length === 0) return decision
  await repository.log.append((state) => {
    decision = decide(state)
    return { fields: { deletions: decision.names } }
  })
  return decision
}

async function deleteObjects(repository: Repository, names: readonly string[]): Promise<number> {
  let freedBytes = 0
  for (const name of names) {
    freedBytes += (await repository.store.head(packKeyOf(name))) ?? 0
    try {
      await repository.store.delete(packKeyOf(name))
    } catch (error) {
      // Held by the store's own lock: it stays as a leftover and the next prune tries again.
      if (!isHoldfastError(error, 'store_unavailable')) throw error
    }
  }
  return freedBytes
}
