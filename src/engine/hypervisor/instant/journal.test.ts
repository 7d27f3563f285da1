import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { isHoldfastError, must } from '#base'
import { identityOf } from '#runtime'
import { InstantJournal, type StoppedRecord } from './journal.ts'
import { verdictOf } from './recover.ts'

let folder: string

async function record(id: string, more: Partial<StoppedRecord> = {}): Promise<StoppedRecord> {
  const owner = must(identityOf(), 'This process is alive')
  return {
    schema: 1,
    kind: 'stopped',
    id,
    machine: 'web',
    machineUuid: `uuid-${id}`,
    owner,
    step: 'prepare',
    nbdSocketPath: '/run/x',
    tracking: { tracker: '0badcafe', next: '00000000000a' },
    daemon: undefined,
    images: [],
    ...more,
  }
}

describe('InstantJournal', () => {
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hf-journal-'))
  })
  after(() => rm(folder, { recursive: true }))

  it('keeps a record until it is removed, and gives each id out once', async () => {
    const journal = new InstantJournal(join(folder, 'new', 'journal'))
    assert.deepEqual(await journal.ids(), [])
    const first = await record('0a')
    await journal.create(first)
    await assert.rejects(journal.create(first), (error: unknown) => isHoldfastError(error, 'instant_open'))
    await journal.replace({ ...first, step: 'open' })
    assert.deepEqual(await journal.read('0a'), JSON.parse(JSON.stringify({ ...first, step: 'open' })))
    await journal.remove('0a')
    await journal.remove('0a')
    assert.equal(await journal.read('0a'), undefined)
  })

  it('counts a machine as open until only its bitmaps are undecided', async () => {
    const journal = new InstantJournal(join(folder, 'open'))
    await journal.create(await record('01', { step: 'open' }))
    await journal.create(await record('02', { step: 'dismantled' }))
    assert.deepEqual([...(await journal.openMachines())], ['uuid-01'])
  })

  it('skips what a crash in the middle of a write left, and refuses what it cannot read', async () => {
    const journal = new InstantJournal(join(folder, 'torn'))
    await journal.create(await record('01'))
    await writeFile(join(folder, 'torn', '.tmp-00'), '{"schema":1')
    assert.deepEqual(await journal.ids(), ['01'])
    for (const text of ['{"schema":1', '{"schema":2,"step":"open"}', '{"schema":1,"step":"later"}', '']) {
      await writeFile(journal.pathOf('01'), text)
      await assert.rejects(journal.read('01'), (error: unknown) => isHoldfastError(error, 'instant_failed'))
    }
  })
})

describe('verdictOf()', () => {
  it('leaves to the log only what the log can know', async () => {
    const verdicts = await Promise.all(
      (['prepare', 'quiesce', 'freeze', 'pause', 'thaw', 'wake', 'open', 'commit', 'abort', 'dismantled'] as const).map(
        async (step) => verdictOf(await record('01', { step })),
      ),
    )
    assert.deepEqual(verdicts.slice(0, 6), Array(6).fill('abort'))
    assert.deepEqual(verdicts.slice(6), ['undecided', 'commit', 'abort', 'undecided'])
    assert.equal(verdictOf(await record('01', { step: 'open', tracking: undefined })), 'abort')
  })
})
