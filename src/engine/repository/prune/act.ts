/**
 * Carrying a prune out. The order of writes is the safety:
 *
 *   step            written                             a crash right after it leaves
 *   1 pin           a pin                               a pin that runs out
 *   2 copies        an entry, where a pack that goes    closures that name more than they need
 *                   holds needed chunks that also lie
 *                   in packs that stay: who holds it
 *                   holds those from then on
 *   3 rewrite       new packs, then an entry naming     chunks with two copies; the next prune drops one
 *   4 tombstones    one entry: packs that are doomed    doomed packs: new backups do not rely on them, the next prune goes on
 *   5 deletions     one entry: packs that are gone      objects without a meaning; the next prune removes them (leftovers)
 *   6 delete        nothing; objects go                 likewise
 *
 * What is locked is not touched: neither doomed, nor rewritten, nor deleted; and where locks are in use nothing is deleted by
 * a clock that is not believed (immutability/).
 *
 * Between reading and steps 4 and 5 others may commit. Both entries are decided again under the number that they take:
 * what a newer point names is not doomed, what was revived is not deleted, and nothing is deleted while a pin older than
 * the tombstones lasts. After step 5 no entry may name these packs (commit-check.ts), so step 6 needs no care.
 */
import { assert, type Clock, isHoldfastError, type ProgressSink, type Random, silentProgress } from '#base'
import { PACK_BYTES_TARGET, packBufferBytes, PackBuilder } from '../pack-builder.ts'
import { PACK_HEADER_BYTES, packKeyOf } from '../pack-format.ts'
import { openChunk, readPackTable, readSealed } from '../pack-reader.ts'
import type { PackAdded } from '../log/entry.ts'
import { encodeOrdinals } from '../log/ordinals.ts'
import type { LogState, PackState } from '../log/state.ts'
import { RepositoryError } from '../errors.ts'
import { isoOf, type Repository } from '../repository.ts'
import type { Session } from '../session.ts'
import { findStrays } from '../verify/damage.ts'
import { mark, type Marks } from './mark.ts'
import { planPrune, PRUNE_DEFAULTS, type PruneOptions, type PrunePlan } from './plan.ts'

export type PruneReport = Readonly<{
  plan: PrunePlan
  /** Packs whose objects were deleted. */
  deleted: number
  freedBytes: number
  /** Objects that the store's own lock still holds, although no point was promised it: a later prune deletes them. */
  heldByStore: number
  /** Doomed, but held by sessions that are at work: the next prune deletes them. */
  heldBack: number
  heldBy: readonly string[]
}>

/** `passedMs`: the time by which locks were judged. */
type Prepared = Readonly<{ plan: PrunePlan; marks: Marks; head: number; passedMs: number }>

function isoText(unixMs: number): string {
  return isoOf(unixMs).replace(/\.\d+Z$/, 'Z')
}

export type PruneEnvironment = Readonly<{ clock: Clock; random: Random; progress?: ProgressSink; signal?: AbortSignal }>

/** Plans without writing anything. @throws clock_doubted, chunk_missing, log_damaged, and what the store throws */
export async function preparePrune(
  repository: Repository,
  environment: PruneEnvironment,
  options: Partial<PruneOptions> = {},
): Promise<Prepared> {
  await repository.log.refresh()
  repository.log.assertWritable()
  await repository.assertProven()
  const passedMs = await repository.immutability.passedMs()
  const head = repository.log.state.head
  const marks = await mark(repository, environment.signal)
  const strays = await findStrays(repository.store, repository.log)
  const full = { ...PRUNE_DEFAULTS, ...options, passedMs, head }
  return { plan: planPrune(repository.log.state, marks.neededBytes, strays, full), marks, head, passedMs }
}

/** Plans and carries out, also on a full store; then less is rewritten. @throws as preparePrune */
export async function prune(
  repository: Repository,
  environment: PruneEnvironment,
  options: Partial<PruneOptions> = {},
): Promise<PruneReport> {
  await repository.store.sweep?.(environment.clock)
  const { rewriteBytesMax = PRUNE_DEFAULTS.rewriteBytesMax } = options
  return repository.withReserve((scarceBytes = Infinity) =>
    pruneOnce(repository, environment, { ...options, rewriteBytesMax: Math.min(rewriteBytesMax, scarceBytes) }),
  )
}

async function pruneOnce(
  repository: Repository,
  environment: PruneEnvironment,
  options: Partial<PruneOptions>,
): Promise<PruneReport> {
  const session = await repository.beginSession('prune')
  try {
    const prepared = await preparePrune(repository, environment, options)
    const { plan, head } = prepared
    const act = new PruneAct(repository, session, environment, prepared)
    await act.joinCopies()
    await act.rewrite()
    const doomedAt = await act.writeTombstones(head)
    const decided = await act.writeDeletions(doomedAt)
    await session.end()
    const gone = await deleteObjects(repository, [...decided.names, ...plan.leftovers])
    return { plan, ...gone, heldBack: decided.heldBack, heldBy: decided.heldBy }
  } catch (error) {
    // A pin that stays would hold back what the next attempt wants to delete.
    if (isHoldfastError(error, 'store_full')) await repository.store.reserve?.release()
    await session.end().catch(() => {
      // The first error is what matters, and the pin runs out by itself.
    })
    throw error
  }
}

type Decision = { names: string[]; heldBack: number; heldBy: string[] }

/** The steps of one prune, over what its marks found. */
class PruneAct {
  readonly #repository: Repository
  readonly #session: Session
  readonly #environment: PruneEnvironment
  readonly #plan: PrunePlan
  readonly #marks: Marks
  readonly #passedMs: number
  readonly #rewritten: ReadonlySet<string>
  /** Packs that this prune stored. */
  readonly #stored: PackAdded[] = []

  constructor(repository: Repository, session: Session, environment: PruneEnvironment, prepared: Prepared) {
    const { plan, marks, passedMs } = prepared
    this.#repository = repository
    this.#session = session
    this.#environment = environment
    this.#plan = plan
    this.#marks = marks
    this.#passedMs = passedMs
    this.#rewritten = new Set(plan.rewrite)
  }

  /**
   * Closures that hold a pack which goes come to hold the packs that have the other copies of its chunks. What is locked is
   * not concerned: its packs do not go.
   */
  async joinCopies(): Promise<void> {
    const { copiesIn } = this.#marks
    const { log } = this.#repository
    await log.refresh()
    const isUnsaid = (name: string): boolean => {
      const ordinal = log.state.packNamed(name)?.ordinal ?? Infinity
      const copies = copiesIn.get(ordinal)
      return copies !== undefined && !log.state.closureOf({ id: '', uses: String(ordinal) }).isSupersetOf(copies)
    }
    const names = [...this.#plan.drop, ...this.#plan.rewrite].filter(isUnsaid)
    if (names.length === 0) return
    await log.append((state) => {
      this.#refuseOvertaken(state)
      const from = names.flatMap((name) => state.packNamed(name)?.ordinal ?? [])
      const to = new Set(from.flatMap((ordinal) => [...(copiesIn.get(ordinal) ?? [])]))
      return { fields: { moved: { from: encodeOrdinals(from), to: encodeOrdinals(to) } } }
    })
  }

  /** Copies the needed chunks of the packs to be rewritten into new packs, without opening more than the seal. */
  async rewrite(): Promise<void> {
    if (this.#plan.rewrite.length === 0) return
    const { store, keys, log } = this.#repository
    const { progress = silentProgress, random, signal } = this.#environment
    const target = Math.min(PACK_BYTES_TARGET, this.#plan.rewrittenBytes + PACK_HEADER_BYTES)
    const buffer = new Uint8Array(packBufferBytes(target))
    const newBuilder = (): PackBuilder => new PackBuilder(keys, random, this.#session.number, buffer, target)
    let builder = newBuilder()
    const flush = async (): Promise<void> => {
      if (builder.isEmpty) return
      const { name, bytes } = builder.finish()
      await store.put(packKeyOf(name), [bytes])
      this.#stored.push({ name, lengthBytes: bytes.length })
      builder = newBuilder()
    }
    let doneBytes = 0
    for (const name of this.#plan.rewrite) {
      signal?.throwIfAborted()
      await this.#session.keepAlive()
      this.#refuseOvertaken(log.state)
      const pack = log.state.packNamed(name)
      assert(pack !== undefined, 'The plan names packs of the log')
      const { salt, chunks } = await readPackTable(store, keys, pack)
      const key = keys.packKey(salt)
      for (const chunk of chunks.filter(({ id }) => this.#marks.isNeeded(id, pack.ordinal))) {
        const sealed = await readSealed(store, pack, chunk.offset, chunk.sealedBytes)
        builder.addCompressed(chunk, openChunk(keys, key, name, chunk, sealed))
        doneBytes += chunk.sealedBytes
        if (builder.isFull) await flush()
        progress({ task: 'Rewriting packs', doneBytes, totalBytes: this.#plan.rewrittenBytes })
      }
    }
    await flush()
    await log.append((state) => {
      this.#refuseOvertaken(state)
      const from = encodeOrdinals(this.#plan.rewrite.flatMap((name) => state.packNamed(name)?.ordinal ?? []))
      const to = encodeOrdinals(this.#stored.map((_, i) => state.packs.length + i))
      return { fields: { packs: this.#stored, moved: { from, to } } }
    })
  }

  /** The number of the entry that dooms; 0 when there was nothing to doom. */
  async writeTombstones(head: number): Promise<number> {
    const strays = new Set(this.#plan.strays)
    const wanted = [...this.#plan.drop, ...this.#plan.rewrite, ...strays]
    if (wanted.length === 0) return 0
    return this.#repository.log.append((state) => {
      this.#refuseOvertaken(state)
      const named = namedSince(state, head)
      const isGone = (name: string): boolean => strays.has(name) && state.packNamed(name) !== undefined
      const tombstones = wanted.filter((name) => !named.has(name) && !state.isDeleted(name) && !isGone(name))
      return { fields: { tombstones } }
    })
  }

  /** Decides under its own number what goes for good. Everything doomed is looked at, that of earlier prunes too. */
  async writeDeletions(doomedAt: number): Promise<Decision> {
    const { log } = this.#repository
    let decision = this.#decide(log.state, doomedAt)
    if (decision.names.length === 0) return decision
    await log.append((state) => {
      this.#refuseOvertaken(state)
      decision = this.#decide(state, doomedAt)
      return { fields: { deletions: decision.names } }
    })
    return decision
  }

  #decide(state: LogState, doomedAt: number): Decision {
    // Asked once more of every pack, however it came to be doomed: what a live point needs is not deleted, nor what is locked.
    const locked = state.lockedPacks(this.#passedMs)
    const isGivenUp = ({ ordinal, name }: PackState): boolean =>
      !locked.has(ordinal) && ((this.#marks.neededBytes.get(ordinal) ?? 0) === 0 || this.#rewritten.has(name))
    const doomed = [
      ...state.packs.filter((pack) => pack.status === 'doomed' && isGivenUp(pack)).map(({ name }) => name),
      ...state.doomedStrays,
    ]
    const pins = state.pins
      .active(this.#passedMs)
      .filter(
        ([number, { session }]) => !this.#session.owns(number) && (doomedAt === 0 || (session ?? number) < doomedAt),
      )
    if (pins.length === 0) return { names: doomed, heldBack: 0, heldBy: [] }
    return {
      names: [],
      heldBack: doomed.length,
      heldBy: pins.map(([number, { purpose, holder, expiresAtMs }]) => {
        return `${purpose} (entry ${number}, ${holder}, at the latest ${isoText(expiresAtMs)})`
      }),
    }
  }

  /**
   * Every prune rests on the packs that its marks chose and on those that it stored. If another prune, which chose other
   * copies, has deleted one of them meanwhile (our pin had run out), then what we give up may be the last copy.
   */
  #refuseOvertaken(state: LogState): void {
    const needed = [...this.#marks.neededBytes.keys()].map((ordinal) => state.packs[ordinal]?.name ?? '')
    const rests = [...needed.filter((name) => !this.#rewritten.has(name)), ...this.#stored.map(({ name }) => name)]
    const gone = this.#session.isRemembered(state) ? rests.filter((name) => state.isDeleted(name)) : rests
    if (gone.length === 0 && this.#session.isRemembered(state)) return
    throw new RepositoryError(
      'prune_overtaken',
      'Another prune deleted what this one rests on; nothing more is deleted.',
      {
        facts: { packs: gone.slice(0, 10) },
        retry: 'now',
        hint: 'Run prune once more.',
      },
    )
  }
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

/** Deletes what the log has given up. What the store's own lock still holds stays as a leftover for a later prune. */
async function deleteObjects(
  { store }: Repository,
  names: readonly string[],
): Promise<{ freedBytes: number; deleted: number; heldByStore: number }> {
  let [freedBytes, deleted, heldByStore] = [0, 0, 0]
  for (const name of names) {
    const sizeBytes = (await store.head(packKeyOf(name))) ?? 0
    try {
      await store.delete(packKeyOf(name))
      freedBytes += sizeBytes
      deleted += 1
    } catch (error) {
      if (!isHoldfastError(error, 'blob_locked')) throw error
      heldByStore += 1
    }
  }
  return { freedBytes, deleted, heldByStore }
}
