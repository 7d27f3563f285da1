/**
 * Writes that wait at the same time become durable together: a commit waits for the disk, and one wait serves them all.
 *
 * Promises: a write resolves only after the commit that holds it; one that throws leaves nothing of itself and harms no other; they
 * run one after the other, each on what those before it wrote. A commit that fails took nothing to the disk: its writes are run
 * again, each alone, so that everyone hears of its own failure. So a write may run more than once.
 * Bound: GROUP_MAX writes a commit, so that who only reads waits for milliseconds.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Kysely, sql, type Transaction } from 'kysely'
import type { CatalogSchema } from './schema.ts'

const GROUP_MAX = 32

type Trx = Transaction<CatalogSchema>
type Write = Readonly<{
  change: (trx: Trx) => Promise<unknown>
  resolve: (value: unknown) => void
  reject: (error: unknown) => void
}>
/** What the write is told once the commit is on disk. */
type Settle = () => void

export class GroupCommit {
  readonly #db: Kysely<CatalogSchema>
  readonly #waiting: Write[] = []
  #running = false

  constructor(db: Kysely<CatalogSchema>) {
    this.#db = db
  }

  write<T>(change: (trx: Trx) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ change, resolve: (value) => resolve(value as T), reject })
      if (!this.#running) void this.#run()
    })
  }

  async #run(): Promise<void> {
    this.#running = true
    while (this.#waiting.length > 0) {
      // Whatever else has come in by now may bring writes too: they come along.
      await nextTurn()
      await this.#commit()
    }
    this.#running = false
  }

  async #commit(): Promise<void> {
    const taken: Write[] = []
    const settles: Settle[] = []
    try {
      await this.#db.transaction().execute(async (trx) => {
        for (let write = this.#waiting.shift(); write !== undefined; write = this.#waiting.shift()) {
          taken.push(write)
          settles.push(taken.length === 1 ? await run(write, trx) : await runWithin(write, trx))
          if (taken.length >= GROUP_MAX) return
        }
      })
    } catch (error) {
      // Without a lock none was taken: who waits longest hears of it, the others try next.
      const [first = this.#waiting.shift(), ...others] = taken
      if (others.length === 0) return first?.reject(error)
      for (const write of taken) await this.#alone(write)
      return
    }
    for (const settle of settles) settle()
  }

  async #alone(write: Write): Promise<void> {
    try {
      const settle = await this.#db.transaction().execute((trx) => run(write, trx))
      settle()
    } catch (error) {
      write.reject(error)
    }
  }
}

/** Its failure is the transaction's. */
async function run({ change, resolve }: Write, trx: Trx): Promise<Settle> {
  const value = await change(trx)
  return () => resolve(value)
}

/** Its failure is its own; unless SQLite gave up the whole transaction with it: then there is no savepoint to return to. */
async function runWithin({ change, resolve, reject }: Write, trx: Trx): Promise<Settle> {
  await sql`savepoint one`.execute(trx)
  try {
    const value = await change(trx)
    await sql`release one`.execute(trx)
    return () => resolve(value)
  } catch (error) {
    await sql`rollback to one`.execute(trx)
    await sql`release one`.execute(trx)
    return () => reject(error)
  }
}
