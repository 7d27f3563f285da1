/**
 * Until when objects were locked by this user, kept beside the index cache so that a commit asks the store only for what
 * is not locked for long enough. It only ever saves calls: nothing is deleted by it, and without it everything is locked
 * once more, which changes nothing. Bound to the store's location and to the log as it was: after either changed it is
 * empty.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolderDurable, replaceFile } from '#runtime'
import { parseObject, toJsonBytes } from '../json.ts'
import type { CommitLog } from '../log/log.ts'
import { decodeOrdinals, encodeOrdinals } from '../log/ordinals.ts'
import { logKey, logNumber } from '../log/entry.ts'
import { packKeyOf } from '../pack-format.ts'

/** Packs by their ordinals and entries by their numbers, as ranges; other objects by key. */
type Group = { packs: string; entries: string; others: readonly string[] }
type Kept = { location: string; head: number; headHash: string; ends: Readonly<Record<string, Group>> }

const FILE = 'lock-ends.json'

export class LockEnds {
  readonly #folder: string
  readonly #location: string
  readonly #ends = new Map<string, number>()

  private constructor(folder: string, location: string) {
    this.#folder = folder
    this.#location = location
  }

  static async open(folder: string, location: string, log: CommitLog): Promise<LockEnds> {
    const ends = new LockEnds(folder, location)
    const bytes = await readFile(join(folder, FILE)).catch(() => undefined) // nothing was locked from here yet
    const kept = bytes === undefined ? undefined : (parseObject(bytes) as Partial<Kept> | undefined)
    if (kept?.location !== location) return ends
    // Also where the log was read from a checkpoint behind it: to begin anew costs a call for every object.
    const { head = 0, headHash = '' } = kept
    if (head > 0 && (await log.holds({ number: head, hash: headHash }))) ends.#fill(kept.ends ?? {}, log)
    return ends
  }

  /** Knows nothing, and is not filled from what was kept. */
  static empty(folder: string, location: string): LockEnds {
    return new LockEnds(folder, location)
  }

  isLocked(key: string, untilMs: number): boolean {
    return (this.#ends.get(key) ?? 0) >= untilMs
  }

  note(key: string, untilMs: number): void {
    this.#ends.set(key, Math.max(untilMs, this.#ends.get(key) ?? 0))
  }

  async save(log: CommitLog): Promise<void> {
    const { head, headHash } = log.state
    const ends: Record<string, Group> = {}
    for (const [end, keyed] of Map.groupBy(this.#ends, ([, untilMs]) => untilMs)) {
      const keys = keyed.map(([key]) => key)
      const entries = keys.flatMap((key) => logNumber(key) ?? [])
      const packs = keys.flatMap((key) => log.state.packNamed(key.slice(-64))?.ordinal ?? [])
      const others = keys.filter((key) => !/^(log|packs)\//.test(key))
      ends[end] = { packs: encodeOrdinals(packs), entries: encodeOrdinals(entries), others }
    }
    await makeFolderDurable(this.#folder)
    await replaceFile(join(this.#folder, FILE), [toJsonBytes({ location: this.#location, head, headHash, ends })])
  }

  #fill(ends: Readonly<Record<string, Partial<Group>>>, { state }: CommitLog): void {
    for (const [text, { packs = '', entries = '', others = [] }] of Object.entries(ends)) {
      const end = Number(text)
      for (const ordinal of decodeOrdinals(packs, state.packs.length)) {
        const name = state.packs[ordinal]?.name ?? ''
        if (name !== '') this.note(packKeyOf(name), end)
      }
      for (const number of decodeOrdinals(entries, state.head + 1)) this.note(logKey(number), end)
      for (const key of others) this.note(key, end)
    }
  }
}
