/**
 * A guest with a database under load: transactions one after the other, each of rows that belong together, and the number of
 * each is told to the outside over the serial line once it is durable. With the scripts that quiet it for a backup.
 *
 * Row (t, part, digest) of transaction t exists for parts 1 to PARTS or for none; `digest` follows from t and part.
 */
import { readFile } from 'node:fs/promises'
import assert from 'node:assert/strict'
import { checkCommand } from '#runtime'
import { eventually } from './deadline.ts'
import { installScripts } from './guest-scripts.ts'
import type { RunningGuest } from './guest-process.ts'

export const DATABASE_DISK = '/data/db'
const DATABASE = `${DATABASE_DISK}/app.db`
const SQLITE = `${DATABASE_DISK}/sqlite/run`
export const PARTS = 4

/** Rollback journal: while no transaction is under way the database file alone is everything, and no journal lies beside it. */
const SCHEMA = `PRAGMA journal_mode = DELETE; CREATE TABLE entry (t INTEGER, part INTEGER, digest TEXT, filler TEXT, PRIMARY KEY (t, part));`

/** With `.bail`, what follows a statement runs only when that succeeded; so an acknowledgement is never of what was not done. */
const WRITER = `#!/bin/sh
awk 'BEGIN {
  print ".bail on"
  print ".timeout 120000"
  print "PRAGMA synchronous = FULL;"
  for (t = 1; ; t++) {
    printf "BEGIN IMMEDIATE;"
    for (part = 1; part <= ${PARTS}; part++)
      printf "INSERT INTO entry VALUES (%d, %d, \\"%d\\", hex(zeroblob(300)));", t, part, (t * 7919 + part * 104729) % 1000003
    print "COMMIT;"
    print ".shell echo committed " t " > /dev/ttyS0"
  }
}' | ${SQLITE} ${DATABASE} > /run/writer.log 2>&1
echo "writer ended" > /dev/ttyS0
`

/** Waits for the transaction under way, and holds the next ones back until the post-script lets go. */
const PRE = `
rm -f /run/locked
touch /run/hold
{ echo '.bail on'; echo '.timeout 20000'; echo 'BEGIN IMMEDIATE;'; echo '.shell touch /run/locked'
  while [ -e /run/hold ]; do usleep 50000; done
  echo 'ROLLBACK;'; } | ${SQLITE} ${DATABASE} > /run/holder.log 2>&1 &
tries=0
while [ ! -e /run/locked ]; do
  tries=$((tries + 1))
  [ $tries -lt 400 ] || exit 1
  usleep 50000
done
echo "quiet" > /dev/ttyS0
`
const POST = `
rm -f /run/hold
echo "awake" > /dev/ttyS0
`

export class SqliteLoad {
  readonly #guest: RunningGuest

  private constructor(guest: RunningGuest) {
    this.#guest = guest
  }

  /** @param device the disk of makeSqliteDisk in the guest, such as vdb */
  static async start(guest: RunningGuest, device: string): Promise<SqliteLoad> {
    await guest.run(`mkdir -p ${DATABASE_DISK}; mount /dev/${device} ${DATABASE_DISK}`)
    await guest.run(`${SQLITE} ${DATABASE} '${SCHEMA}'`)
    await installScripts(guest, { pre: PRE, post: POST })
    await guest.run(`cat > /run/writer <<'END_OF_FILE'\n${WRITER}\nEND_OF_FILE\nchmod 700 /run/writer`)
    await guest.start('/run/writer')
    return new SqliteLoad(guest)
  }

  /** The last transaction that the guest told to be durable; 0 before the first. */
  async committed(): Promise<number> {
    const said = await this.#said()
    assert.ok(!said.includes('writer ended'), 'The writer goes on')
    return Number([...said.matchAll(/^committed (\d+)\r?$/gm)].at(-1)?.[1] ?? 0)
  }

  /** How often it was quieted and woken, in this order. */
  async quieted(): Promise<string[]> {
    return [...(await this.#said()).matchAll(/^(quiet|awake)\r?$/gm)].map(([, word]) => word ?? '')
  }

  async untilCommitted(number: number): Promise<void> {
    await eventually(`transaction ${number}`, 60_000, async () => (await this.committed()) >= number || undefined)
  }

  async #said(): Promise<string> {
    return readFile(this.#guest.paths.serial, 'latin1')
  }
}

export type DatabaseState = Readonly<{ transactions: number; journal: boolean }>

/**
 * What a raw image of the database's disk holds, read outside of any guest without mending anything: its file system must be
 * whole without a journal's replay, the database clean, every transaction whole and none missing up to the last.
 * @param folder for the copy of the database
 */
export async function checkDatabase(image: string, folder: string): Promise<DatabaseState> {
  const state = (await checkCommand('dumpe2fs', ['-h', image])).stdout.toString()
  assert.match(state, /^Filesystem state: +clean$/m)
  await checkCommand('e2fsck', ['-fn', image])
  const journal = (await checkCommand('debugfs', ['-R', 'ls -p /', image])).stdout.toString().includes('app.db-journal')
  for (const name of ['app.db', ...(journal ? ['app.db-journal'] : [])])
    await checkCommand('debugfs', ['-R', `dump /${name} ${folder}/${name}`, image])
  const ask = async (sql: string): Promise<string> =>
    (await checkCommand('sqlite3', [`${folder}/app.db`, sql])).stdout.toString().trim()
  assert.equal(await ask('PRAGMA integrity_check'), 'ok')
  const torn = await ask(`SELECT count(*) FROM (SELECT t FROM entry GROUP BY t HAVING count(*) <> ${PARTS})`)
  const wrong = await ask('SELECT count(*) FROM entry WHERE digest <> (t * 7919 + part * 104729) % 1000003')
  const [last, count] = (await ask('SELECT ifnull(max(t), 0), count(DISTINCT t) FROM entry')).split('|').map(Number)
  assert.deepEqual([torn, wrong, count], ['0', '0', last], 'No transaction is torn, wrong or missing')
  return { transactions: last ?? 0, journal }
}
