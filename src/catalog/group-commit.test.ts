import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test, type TestContext } from 'node:test'
import { sql } from 'kysely'
import { ManualClock } from '#base'
import { Catalog } from './catalog.ts'

const FRAME_BYTES = 4096

async function open(t: TestContext): Promise<Catalog> {
  const folder = await mkdtemp(join(tmpdir(), 'holdfast-catalog-'))
  const catalog = await Catalog.open(join(folder, 'catalog.sqlite'), new ManualClock())
  t.after(async () => {
    await catalog.close()
    await rm(folder, { recursive: true })
  })
  return catalog
}

/** Gives how many there were before it. */
function add(catalog: Catalog, id: string, fails = false): Promise<number> {
  return catalog.write(async (trx) => {
    const before = await trx.selectFrom('repository').select('id').execute()
    await trx.insertInto('repository').values({ id, location: '/x', added_ms: 1 }).execute()
    if (fails) throw new Error(`not ${id}`)
    return before.length
  })
}

async function idsIn(catalog: Catalog): Promise<string[]> {
  const rows = await catalog.db.selectFrom('repository').select('id').orderBy('id').execute()
  return rows.map(({ id }) => id)
}

test('writes at once share commits; each sees what those before it wrote', async (t) => {
  const catalog = await open(t)
  const count = 100
  const walBytes = (): number => statSync(`${catalog.path}-wal`).size
  let before = walBytes()
  for (let i = 0; i < count; i += 1) await add(catalog, `a${i}`)
  const alone = walBytes() - before
  assert.ok(alone >= count * FRAME_BYTES, 'one after the other each has a commit of its own')
  before = walBytes()
  const seen = await Promise.all(Array.from({ length: count }, (_, i) => add(catalog, `b${i}`)))
  assert.deepEqual(
    seen,
    Array.from(seen.keys(), (i) => count + i),
  )
  assert.ok(walBytes() - before < alone / 4, `${walBytes() - before} of ${alone} bytes`)
  assert.equal((await idsIn(catalog)).length, 2 * count)
})

test('a write that throws, first or between others, leaves nothing of itself and harms none of them', async (t) => {
  const catalog = await open(t)
  const names = ['a', 'b', 'c', 'd', 'e']
  const failing = ['a', 'c', 'e']
  const outcomes = await Promise.allSettled(names.map((name) => add(catalog, name, failing.includes(name))))
  assert.deepEqual(
    outcomes.map((one) => (one.status === 'rejected' ? String(one.reason) : 'done')),
    ['Error: not a', 'done', 'Error: not c', 'done', 'Error: not e'],
  )
  assert.deepEqual(await idsIn(catalog), ['b', 'd'])
})

test('where SQLite gives up the whole transaction, the others of it are written all the same', async (t) => {
  const catalog = await open(t)
  await sql`create trigger planted before insert on repository when new.id = 'bad'
    begin select raise(rollback, 'the disk is gone'); end`.execute(catalog.db)
  const outcomes = await Promise.allSettled(['a', 'b', 'bad', 'c'].map((id) => add(catalog, id)))
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'fulfilled', 'rejected', 'fulfilled'],
  )
  const [, , bad] = outcomes
  assert.match(String(bad?.status === 'rejected' && bad.reason), /the disk is gone/)
  assert.deepEqual(await idsIn(catalog), ['a', 'b', 'c'])
})
