import assert from 'node:assert/strict'
import { test } from 'node:test'
import { DiskView } from './disk-view.ts'
import { type JournalRun, replayExtJournal } from './ext-journal.ts'

const BLOCK_BYTES = 1024
const DISK_BLOCKS = 64
const JOURNAL_AT = 32
const JOURNAL_BLOCKS = 12
const MAGIC = 0xc03b_3998
/** Not followed by the id of a file system; the last one. */
const TAG_FLAGS = 2 | 8

/** Its journal says that block 5 holds what its own block 2 does. */
function makeDisk(journalBlocks = JOURNAL_BLOCKS): Buffer {
  const disk = Buffer.alloc(DISK_BLOCKS * BLOCK_BYTES)
  for (let block = 0; block < DISK_BLOCKS; block += 1)
    disk.fill(`block ${block} `, block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)
  const write = (block: number, words: readonly number[]): void => {
    const at = (JOURNAL_AT + block) * BLOCK_BYTES
    disk.fill(0, at, at + BLOCK_BYTES)
    for (const [i, word] of words.entries()) disk.writeUInt32BE(word, at + i * 4)
  }
  write(0, [MAGIC, 4, 0, BLOCK_BYTES, journalBlocks, 1, 1, 1])
  write(1, [MAGIC, 1, 1, 5, TAG_FLAGS])
  write(3, [MAGIC, 2, 1])
  return disk
}

function replay(disk: Buffer, runs: AsyncIterable<JournalRun>) {
  const view = DiskView.of({
    sizeBytes: disk.length,
    read: (offset, into) => {
      disk.copy(into, 0, offset, offset + into.length)
      return Promise.resolve()
    },
  })
  return replayExtJournal(view, BLOCK_BYTES, DISK_BLOCKS, runs)
}

async function* piecesOf(count: number): AsyncGenerator<JournalRun> {
  const each = JOURNAL_BLOCKS / count
  for (let i = 0; i < count; i += 1)
    yield await Promise.resolve({ fileBlock: i * each, diskBlock: JOURNAL_AT + i * each, count: each })
}

for (const pieces of [1, 3, JOURNAL_BLOCKS])
  test(`replayExtJournal() shows what a mount would of a journal in ${pieces} pieces`, async () => {
    const { replayed, notes } = await replay(makeDisk(), piecesOf(pieces))
    assert.deepEqual(notes, [])
    const bytes = Buffer.alloc(2 * BLOCK_BYTES)
    await replayed?.read(5 * BLOCK_BYTES, bytes)
    assert.equal(bytes.toString('latin1', 0, 9), 'block 34 ')
    assert.equal(bytes.toString('latin1', BLOCK_BYTES, BLOCK_BYTES + 8), 'block 6 ')
  })

async function* endless(first: JournalRun, next: (i: number) => JournalRun): AsyncGenerator<JournalRun> {
  yield await Promise.resolve(first)
  for (let i = 0; ; i += 1) yield next(i)
}

test('replayExtJournal() ends with a note where a journal is in pieces without end, in circles, or longer than any', async () => {
  const first = { fileBlock: 0, diskBlock: JOURNAL_AT, count: 1 }
  const hostile: readonly (readonly [Buffer, AsyncIterable<JournalRun>, RegExp])[] = [
    [makeDisk(), endless(first, (i) => ({ fileBlock: i + 1, diskBlock: JOURNAL_AT + 1, count: 1 })), /too many pieces/],
    [makeDisk(), endless(first, () => first), /do not ascend/],
    [makeDisk(0xffff_ffff), piecesOf(1), /impossibly long/],
  ]
  for (const [disk, runs, why] of hostile) {
    const { replayed, notes } = await replay(disk, runs)
    assert.equal(replayed, undefined)
    assert.match(notes.join(), why)
  }
})
