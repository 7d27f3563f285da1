/**
 * A tar archive of what lies below a path, as it is read: pax (POSIX.1-2001, "pax Interchange Format"), so that long names, names
 * outside ASCII and sizes beyond 8 GiB hold. Modes, owners and times are the guest's; links stay links.
 *
 * What was left out stands in a last file, LEFT-OUT.txt, when there is any. A file that cannot be read to its end ends the
 * stream with the error: no archive pretends to be whole.
 */
import type { Skipped } from './extract.ts'
import type { FileEntry, FileTree } from './file-tree.ts'
import { leftOutText, LEFT_OUT_NAME } from './left-out.ts'
import { walkTree } from './walk-tree.ts'

const BLOCK_BYTES = 512
const NAME_BYTES_MAX = 100
const OCTAL_MAX = 0o77777777777
const ID_MAX = 0o7777777

type Member = Readonly<{ name: string; type: '0' | '2' | '5' | 'x'; entry: Omit<FileEntry, 'name' | 'kind'> }>

function octal(value: number, digits: number): string {
  return `${Math.max(0, value).toString(8).padStart(digits, '0')}\0`
}

function header({ name, type, entry }: Member, bytes: number): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES)
  const seconds = Math.floor(entry.modifiedMs / 1000)
  block.write(name, 0, NAME_BYTES_MAX)
  const [user, group] = [entry.userId, entry.groupId].map((id) => (id <= ID_MAX ? id : 0))
  block.write(`${octal(entry.mode & 0o7777, 7)}${octal(user ?? 0, 7)}${octal(group ?? 0, 7)}`, 100)
  block.write(
    `${octal(bytes <= OCTAL_MAX ? bytes : 0, 11)}${octal(seconds >= 0 && seconds <= OCTAL_MAX ? seconds : 0, 11)}`,
    124,
  )
  block.write(`        ${type}`, 148) // The checksum counts as blanks.
  block.write(entry.linkTarget ?? '', 157, NAME_BYTES_MAX)
  block.write('ustar\x0000', 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

function padding(length: number): Buffer {
  return Buffer.alloc((BLOCK_BYTES - (length % BLOCK_BYTES)) % BLOCK_BYTES)
}

/** One record: its own length counts. */
function record(key: string, value: string): Buffer {
  const text = ` ${key}=${value}\n`
  const bytes = Buffer.byteLength(text)
  let length = bytes + String(bytes).length
  if (String(length).length > String(bytes).length) length = bytes + String(length).length
  return Buffer.from(`${length}${text}`)
}

function isShort(text: string): boolean {
  return Buffer.byteLength(text) <= NAME_BYTES_MAX && /^[\x20-\x7e]*$/.test(text)
}

function paxRecords({ name, entry }: Member, bytes: number): Buffer {
  const { linkTarget = '', userId, groupId, modifiedMs } = entry
  const records = [
    ...(isShort(name) ? [] : [record('path', name)]),
    ...(isShort(linkTarget) ? [] : [record('linkpath', linkTarget)]),
    ...(bytes <= OCTAL_MAX ? [] : [record('size', String(bytes))]),
    ...(userId <= ID_MAX ? [] : [record('uid', String(userId))]),
    ...(groupId <= ID_MAX ? [] : [record('gid', String(groupId))]),
    ...(modifiedMs % 1000 === 0 || !Number.isFinite(modifiedMs) ? [] : [record('mtime', String(modifiedMs / 1000))]),
  ]
  return Buffer.concat(records)
}

function* head(member: Member, bytes: number): Generator<Buffer> {
  const records = paxRecords(member, bytes)
  if (records.length > 0) {
    const entry = { sizeBytes: records.length, mode: 0o600, userId: 0, groupId: 0, modifiedMs: 0 }
    yield header({ name: 'PaxHeaders/entry', type: 'x', entry }, records.length)
    yield records
    yield padding(records.length)
  }
  yield header(member, bytes)
}

/** The archive's bytes. @throws TransferError; whoever writes them out then has no whole archive */
export async function* tarArchive(tree: FileTree, path: string, signal?: AbortSignal): AsyncGenerator<Buffer> {
  const skipped: Skipped[] = []
  for await (const { path: at, name, entry } of walkTree(tree, path, skipped, signal)) {
    if (entry.kind === 'folder') yield* head({ name: `${name}/`, type: '5', entry }, 0)
    else if (entry.kind === 'link') yield* head({ name, type: '2', entry }, 0)
    else {
      yield* head({ name, type: '0', entry }, entry.sizeBytes)
      yield* tree.readFile(at)
      yield padding(entry.sizeBytes)
    }
  }
  if (skipped.length > 0) {
    const text = leftOutText(skipped)
    const entry = { sizeBytes: text.length, mode: 0o600, userId: 0, groupId: 0, modifiedMs: 0 }
    yield* head({ name: LEFT_OUT_NAME, type: '0', entry }, text.length)
    yield text
    yield padding(text.length)
  }
  yield Buffer.alloc(2 * BLOCK_BYTES)
}
