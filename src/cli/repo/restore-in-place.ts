/** holdfast repo restore --in-place: disks of a stopped machine made into what a point says, writing only what differs. */
import { formatBytes, WRITER } from '#base'
import type { PointRecord } from '#engine/repository'
import type { InPlaceDisk, InPlaceReport, InPlaceTarget } from '#engine/transfer'
import type { CommandContext } from '../command.ts'
import { CliError } from '../errors.ts'
import { stateFolder } from '../state-folder.ts'
import { chooseDisks } from './choose-disk.ts'
import type { DiskArgument } from './disk-argument.ts'
import type { OpenRepository } from './open.ts'

export type InPlaceWanted = Readonly<{
  inPlace: readonly DiskArgument[]
  keepCurrent?: boolean
  grow?: boolean
  threads?: number
}>

/** @throws usage_invalid, disk_not_found, and as restoreInPlace */
export async function restoreDisksInPlace(
  { repository, descriptor }: OpenRepository,
  point: PointRecord,
  { inPlace, keepCurrent, grow, threads }: InPlaceWanted,
  { output, signal }: CommandContext,
): Promise<InPlaceReport> {
  const targets = inPlace.map(targetOf)
  const chosen = await chooseDisks(
    point,
    inPlace.map(({ lun }) => lun),
  )
  const disks = chosen.flatMap((disk, i): InPlaceDisk[] => {
    const target = targets[i]
    return target === undefined ? [] : [{ disk, target }]
  })
  const { restoreInPlace } = await import('#engine/transfer')
  const { systemClock, systemRandom } = await import('#runtime')
  return restoreInPlace(repository, point, disks, {
    store: descriptor,
    clock: systemClock,
    random: systemRandom,
    writer: WRITER,
    stateFolder: stateFolder(),
    progress: output.progress,
    signal,
    ...(keepCurrent === undefined ? {} : { keepCurrent }),
    ...(grow === undefined ? {} : { grow }),
    ...(threads === undefined ? {} : { threads }),
  })
}

/** A format is never guessed of what is to be overwritten: a guest can write what looks like another one's header. */
function targetOf({ lun, source }: DiskArgument): InPlaceTarget {
  if (source.kind !== 'image') return source
  const { path, format } = source
  if (format === 'raw' || format === 'qcow2') return { kind: 'image', path, format }
  throw new CliError(
    'usage_invalid',
    format === undefined
      ? `The format of ${path} has to be named.`
      : `A disk can be restored in place in a raw or qcow2 image only.`,
    { facts: { lun, path }, hint: `Write --in-place ${lun}=qcow2:${path} or --in-place ${lun}=raw:${path}.` },
  )
}

export function inPlaceSummary({ disks, safetyPoint }: InPlaceReport): string {
  const lines = disks.map(({ target, sizeBytes, comparedBytes, writtenBytes, zeroedBytes }) => {
    const changed = `${formatBytes(writtenBytes)} written, ${formatBytes(zeroedBytes)} made zero`
    return `${target}  ${formatBytes(sizeBytes)}: ${formatBytes(comparedBytes)} compared, ${changed}`
  })
  if (safetyPoint !== undefined) lines.push(`What was there before is point ${safetyPoint}.`)
  return lines.join('\n')
}
