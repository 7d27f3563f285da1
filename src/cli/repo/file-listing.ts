/** What is on a disk and in a folder of it, for people and for programs. */
import { formatBytes } from '#base'
import type { DiskContents, Extracted, FileEntry, Place } from '#engine/transfer'
import { printable } from '../printable.ts'
import { textTable } from '../text-table.ts'
import { timeText } from './point-json.ts'

export function contentsJson({ fileSystems, refused, notes }: DiskContents): unknown {
  return {
    schema: 1,
    fileSystems: fileSystems.map(({ kind, label, notes, ...place }) => ({ ...placeJson(place), kind, label, notes })),
    refused: refused.map(({ kind, refusal, ...place }) => ({ ...placeJson(place), kind, refusal })),
    notes,
  }
}

function placeJson({ volume, disk, partition }: Place): Record<string, unknown> {
  const { number, sizeBytes, scheme, type } = partition
  return { volume, ...(disk === undefined ? {} : { disk }), partition: number, scheme, type, sizeBytes }
}

export function contentsText({ fileSystems, refused, notes }: DiskContents): string {
  const rows = [
    ...fileSystems.map(({ kind, label, notes, ...place }) => ({
      place,
      kind,
      about: [label, ...notes].join(' ').trim(),
    })),
    ...refused.map(({ kind, refusal, ...place }) => ({ place, kind, about: refusal })),
  ].sort((a, b) => inOrder(a.place, b.place))
  const cells = rows.map(({ place, kind, about }) => [
    printable(place.volume),
    formatBytes(place.partition.sizeBytes),
    kind,
    printable(about),
  ])
  return [textTable(['VOLUME', 'SIZE', 'HOLDS', ''], cells), ...notes.map(printable)].join('\n')
}

/** Disks with their partitions first, then what is put together from them. */
function inOrder(a: Place, b: Place): number {
  if ((a.disk === undefined) !== (b.disk === undefined)) return a.disk === undefined ? 1 : -1
  return a.volume.localeCompare(b.volume, 'en', { numeric: true })
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
