/**
 * What a snapshot of a managed disk may be, as pure rules.
 *
 * Invariants: a snapshot's source and kind (full or incremental) never change; incremental ones of a disk, and their copies
 * in one region, are a family; nothing rests on another snapshot, so each is deleted by itself.
 */
import type { Refusal } from './disk.ts'

/** Where the versions of a disk's snapshots stand in its region's repository: full ones build on nothing. */
export function snapshotHistory(diskUniqueId: string, isIncremental: boolean): string {
  return `disk-${diskUniqueId}${isIncremental ? '' : '-full'}`
}

export const CREATE_OPTIONS = ['Copy', 'CopyStart'] as const
export type SnapshotCreateOption = (typeof CREATE_OPTIONS)[number]

/** Limits of a server. Those that Azure has to protect its own service are off unless chosen. */
export type SnapshotLimits = Readonly<{
  /** Incremental snapshots of one disk. */
  perDiskMax: number
  /** Snapshots of one disk begun within `perDiskWindowMs`; undefined: any number. */
  perWindowMax: number | undefined
  perDiskWindowMs: number
}>

export const SNAPSHOT_LIMITS: Readonly<Record<'generous' | 'azure', SnapshotLimits>> = {
  generous: { perDiskMax: 500, perWindowMax: undefined, perDiskWindowMs: 300_000 },
  azure: { perDiskMax: 500, perWindowMax: 7, perDiskWindowMs: 300_000 },
}

/** Why one more snapshot of a disk cannot be made. @param begunMs when each of the disk's snapshots was begun */
export function limitReached(
  limits: SnapshotLimits,
  incrementalCount: number,
  begunMs: readonly number[],
  nowMs: number,
): Refusal | undefined {
  if (incrementalCount >= limits.perDiskMax)
    return { message: `The disk has ${incrementalCount} incremental snapshots already; delete some first.` }
  const { perWindowMax, perDiskWindowMs } = limits
  const recent = begunMs.filter((beganMs) => beganMs > nowMs - perDiskWindowMs).length
  if (perWindowMax !== undefined && recent >= perWindowMax)
    return { message: `${recent} snapshots of the disk were begun within ${perDiskWindowMs / 60_000} minutes.` }
  return undefined
}

/** A snapshot as a source of another one. */
export type SourceSnapshot = Readonly<{ location: string; isIncremental: boolean; state: string }>

/** Why a snapshot of this kind cannot be copied from that one. */
export function whyNotCopy(
  source: SourceSnapshot,
  wanted: Readonly<{ location: string; isIncremental: boolean; createOption: SnapshotCreateOption }>,
): Refusal | undefined {
  if (source.state !== 'Succeeded') return { message: `The source snapshot is ${source.state}, not Succeeded.` }
  if (wanted.isIncremental && !source.isIncremental)
    return {
      target: 'properties.incremental',
      message: 'An incremental snapshot is copied from an incremental one: a full one belongs to no family.',
    }
  if (wanted.createOption === 'Copy' && source.location !== wanted.location && wanted.isIncremental)
    return {
      target: 'properties.creationData.createOption',
      message: `The source is in ${source.location}: an incremental snapshot goes to another region with createOption CopyStart.`,
    }
  return undefined
}

/** Names of a consistency group's snapshots: `{group}`, `{disk}` and `{time}` stand for what they say. */
export const NAME_PATTERN_DEFAULT = '{disk}-{group}'
/** Source: Azure naming rules: letters, digits, underscore, period, hyphen; begins with a letter or digit, ends not with a period or hyphen. */
export const SNAPSHOT_NAME = /^[A-Za-z0-9]([\w.-]{0,78}\w)?$/

export function snapshotName(pattern: string, words: Readonly<{ group: string; disk: string; time: string }>): string {
  return pattern.replaceAll(/\{(group|disk|time)\}/g, (_, word: keyof typeof words) => words[word])
}

/** Percent done of so many bytes, 99 at most: 100 is only what is durable. */
export function percentBeforeEnd(doneBytes: number, totalBytes: number): number {
  if (totalBytes <= 0) return 0
  return Math.min(99, Math.floor((100 * doneBytes) / totalBytes))
}
