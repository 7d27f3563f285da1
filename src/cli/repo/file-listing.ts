/** What is on a disk and in a folder of it, for people and for programs. */
import { formatBytes } from '#base'
import type { DiskContents, Extracted, FileEntry } from '#engine/transfer'
import { printable } from '../printable.ts'
import { textTable } from '../text-table.ts'
import { timeText } from './point-json.ts'

export function contentsJson({ fileSystems, refused, notes }: DiskContents): unknown {
  return {
    schema: 1,
    fileSystems: fileSystems.map(({ partition, kind, label, notes }) => ({
      partition: partition.number,
      sizeBytes: partition.sizeBytes,
      kind,
      label,
      notes,
    })),
    refused: refused.map(({ partition, kind, refusal }) => ({
      partition: partition.number,
      sizeBytes: partition.sizeBytes,
      kind,
      refusal,
    })),
    notes,
  }
}

export function contentsText({ fileSystems, refused, notes }: DiskContents): string {
  const rows = [
    ...fileSystems.map(({ partition, kind, label, notes }) => ({
      partition,
      kind,
      about: [label, ...notes].join(' ').trim(),
    })),
    ...refused.map(({ partition, kind, refusal }) => ({ partition, kind, about: refusal })),
  ].sort((a, b) => a.partition.number - b.partition.number)
  const cells = rows.map(({ partition, kind, about }) => [
    partition.number === 0 ? 'whole' : String(partition.number),
    formatBytes(partition.sizeBytes),
    kind,
    printable(about),
  ])
  return [textTable(['PARTITION', 'SIZE', 'HOLDS', ''], cells), ...notes].join('\n')
}

export function entryJson(entry: FileEntry): Record<string, unknown> {
  const { name, kind, sizeBytes, mode, userId, groupId, modifiedMs, linkTarget } = entry
  return {
    name,
    kind,
    sizeBytes,
    mode: mode.toString(8).padStart(4, '0'),
    userId,
    groupId,
    modifiedAt: isoOf(modifiedMs),
    ...(linkTarget === undefined ? {} : { linkTarget }),
  }
}

export function entriesText(entries: readonly FileEntry[]): string {
  const rows = entries.map(({ name, kind, sizeBytes, mode, userId, groupId, modifiedMs, linkTarget }) => [
    `${KIND_LETTERS[kind]}${permissionText(mode)}`,
    `${userId}:${groupId}`,
    kind === 'file' ? String(sizeBytes) : '-',
    timeText(isoOf(modifiedMs)),
    printable(linkTarget === undefined ? name : `${name} -> ${linkTarget}`) + (kind === 'folder' ? '/' : ''),
  ])
  return textTable(['MODE', 'OWNER', 'BYTES', 'MODIFIED AT', 'NAME'], rows)
}

const KIND_LETTERS: Readonly<Record<FileEntry['kind'], string>> = {
  file: '-',
  folder: 'd',
  link: 'l',
  other: '?',
  damaged: '!',
}

function permissionText(mode: number): string {
  return Array.from('rwxrwxrwx', (letter, i) => ((mode >> (8 - i)) & 1 ? letter : '-')).join('')
}

/** Times on a damaged disk may be none at all. */
function isoOf(unixMs: number): string {
  const time = new globalThis.Date(unixMs)
  return Number.isNaN(time.getTime()) ? 'unknown' : time.toISOString()
}

export function extractedText({ files, folders, links, bytes, skipped }: Extracted): string {
  const sum = `Brought out ${files} files, ${folders} folders and ${links} links: ${formatBytes(bytes)}.`
  return [...skipped.map(({ path, reason }) => `Left out ${printable(path)}: ${printable(reason)}`), sum].join('\n')
}
