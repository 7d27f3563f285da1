/**
 * Annotated dumps of every kind of object, for docs/format. They are made from the golden repository; a test makes them anew
 * and compares them with the documents. `script/node tools/format-dump.ts` prints them.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fromHex, ManualClock, must, SeededRandom } from '#base'
import { type ContentHash, FolderStore, Repository } from '#engine/repository'

const GOLDEN = 'test/golden/format-1/repository'
/** Of the incremental: the entry that commits it, and the pack that it names. */
const DUMPED_ENTRY = '000000000006'
const DUMPED_CHECKPOINT = '000000000008'

/** One field: where it lies, its first bytes in hex, and what it is. */
function line(bytes: Buffer, offset: number, length: number, meaning: string): string {
  const shown = bytes.subarray(offset, offset + Math.min(length, 16)).toString('hex')
  const hex = `${shown.replaceAll(/(..)(?=.)/g, '$1 ')}${length > 16 ? ' ..' : ''}`
  return `${String(offset).padStart(6)} ${String(length).padStart(6)}  ${hex.padEnd(50)} ${meaning}`
}

const HEADING = 'offset  width  bytes                                              meaning'

/** The fields of a pack that lie open, and where the sealed ones begin. */
export function dumpPack(bytes: Buffer): string {
  const end = bytes.length
  const tableOffset = Number(bytes.readBigUInt64LE(end - 32))
  const tableBytes = bytes.readUInt32LE(end - 24)
  const chunks = bytes.readUInt32LE(end - 20)
  return [
    HEADING,
    line(bytes, 0, 8, `magic "${bytes.toString('latin1', 0, 8)}"`),
    line(bytes, 8, 16, 'repository id'),
    line(bytes, 24, 32, 'salt of the pack'),
    line(bytes, 56, 8, `session: entry ${bytes.readBigUInt64LE(56)} of the log`),
    line(bytes, 64, 32, 'zeros'),
    line(bytes, 96, tableOffset - 96, `${chunks} sealed chunks, each with its tag`),
    line(bytes, tableOffset, tableBytes, `sealed table: ${chunks} x 48 + tag 16`),
    line(bytes, end - 64, 32, 'salt again'),
    line(bytes, end - 32, 8, `table offset ${tableOffset}`),
    line(bytes, end - 24, 4, `table bytes ${tableBytes}`),
    line(bytes, end - 20, 4, `chunks ${chunks}`),
    line(bytes, end - 16, 8, 'zeros'),
    line(bytes, end - 8, 8, `magic "${bytes.toString('latin1', end - 8)}"`),
  ].join('\n')
}

/** The fields of a log entry or a checkpoint, its open part as the JSON that it is. */
export function dumpEntry(bytes: Buffer): string {
  const [envelopeBytes, bodyBytes] = [bytes.readUInt32LE(8), bytes.readUInt32LE(12)]
  const envelope = bytes.toString('utf8', 16, 16 + envelopeBytes)
  const wrapped = envelope.match(/.{1,100}/g) ?? []
  return [
    HEADING,
    line(bytes, 0, 8, `magic "${bytes.toString('latin1', 0, 8)}"`),
    line(bytes, 8, 4, `open bytes ${envelopeBytes}`),
    line(bytes, 12, 4, `body bytes ${bodyBytes}`),
    line(bytes, 16, envelopeBytes, 'open part, JSON:'),
    ...wrapped.map((part) => `                ${part}`),
    ...(bodyBytes === 0 ? [] : [line(bytes, 16 + envelopeBytes, bodyBytes, 'sealed body with its tag')]),
    line(bytes, 16 + envelopeBytes + bodyBytes, 32, 'MAC'),
  ].join('\n')
}

const read = (...path: readonly string[]): Buffer => readFileSync(join(GOLDEN, ...path))
const wrapped = (text: string): string => (text.match(/.{1,120}/g) ?? []).join('\n')

/** A leaf of a tree, as it is when its chunk was opened. */
export function dumpNode(bytes: Buffer): string {
  return [
    HEADING,
    line(bytes, 0, 4, `magic "${bytes.toString('latin1', 0, 4)}"`),
    line(bytes, 4, 1, `level ${bytes.readUInt8(4)}`),
    line(bytes, 5, 1, 'zero'),
    line(bytes, 6, 2, `slots ${bytes.readUInt16LE(6)}`),
    line(bytes, 8, 8, `used bytes ${bytes.readBigUInt64LE(8)}`),
    line(bytes, 16, 32, 'presence'),
    line(bytes, 48, bytes.length - 48, `${(bytes.length - 48) / 32} x SHA-256 of a chunk`),
  ].join('\n')
}

/** A delta node, likewise. */
export function dumpDeltaNode(bytes: Buffer): string {
  const [below, payloads, extents] = [bytes.readUInt8(5), bytes.readUInt32LE(8), bytes.readUInt32LE(12)]
  const payloadsAt = 48 + 32 * below
  const extentsAt = payloadsAt + 36 * payloads
  return [
    HEADING,
    line(bytes, 0, 4, `magic "${bytes.toString('latin1', 0, 4)}"`),
    line(bytes, 4, 1, `level of the tree's root ${bytes.readUInt8(4)}`),
    line(bytes, 5, 1, `delta nodes below ${below}`),
    line(bytes, 6, 2, 'zeros'),
    line(bytes, 8, 4, `payload chunks ${payloads}`),
    line(bytes, 12, 4, `extents ${extents}`),
    line(bytes, 16, 32, "SHA-256 of the tree's root"),
    line(bytes, 48, 32 * below, `${below} x SHA-256 of a delta node below`),
    line(bytes, payloadsAt, 36 * payloads, `${payloads} x SHA-256 and sectors of a payload chunk`),
    line(bytes, extentsAt, bytes.length - extentsAt, `${extents} extents`),
  ].join('\n')
}

/** Nodes of the golden repository: a tree's leaf, and the newest delta node of a chain of two. */
async function dumpGoldenNodes(): Promise<string[]> {
  const cacheFolder = await mkdtemp(join(tmpdir(), 'holdfast-dump-'))
  const store = await FolderStore.open(GOLDEN)
  const credential = { kind: 'passphrase', passphrase: 'golden, and not secret' } as const
  const environment = { clock: new ManualClock(), random: new SeededRandom(1), cacheFolder, writer: 'dump' }
  const repository = await Repository.open(store, credential, environment)
  try {
    const reader = await repository.chunkReader()
    const rootOf = async (note: string): Promise<Buffer> => {
      const root = repository.points().find(({ notes }) => notes[0] === note)?.disks[0]?.root
      return Buffer.from(await reader.read(fromHex(must(root, `Point "${note}" has a root`).hash) as ContentHash))
    }
    return [dumpNode(await rootOf('before it grew')), dumpDeltaNode(await rootOf('small again'))]
  } finally {
    await repository.close()
    await rm(cacheFolder, { recursive: true })
  }
}

/** The dumps, each with the document that it stands in. */
export async function goldenDumps(): Promise<(readonly [document: string, dump: string])[]> {
  const entry = read('log', DUMPED_ENTRY)
  const [, pack = ''] = /"name":"([0-9a-f]{64})"/.exec(entry.toString('latin1')) ?? []
  const [slot = ''] = readdirSync(join(GOLDEN, 'keys')).sort()
  return [
    ['config.md', wrapped(read('config').toString())],
    ['key-slot.md', wrapped(read('keys', slot).toString())],
    ['pack.md', dumpPack(read('packs', pack.slice(0, 2), pack))],
    ['log.md', dumpEntry(entry)],
    ['checkpoint.md', dumpEntry(read('checkpoints', DUMPED_CHECKPOINT))],
    ...(await dumpGoldenNodes()).map((dump) => ['manifest.md', dump] as const),
  ]
}

if (import.meta.main)
  for (const [document, dump] of await goldenDumps()) process.stdout.write(`${document}\n${dump}\n\n`)
