/** Disks of a point by LUN. */
import { InvalidArgumentError } from 'commander'
import { must } from '#base'
import type { DiskRecord, PointRecord } from '#engine/repository'
import { CliError } from '../errors.ts'

/** For commander. @throws InvalidArgumentError */
export function parseLun(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('It is no LUN.')
  return Number(text)
}

/** The disks with these LUNs, all if none are named. @throws disk_not_found */
export async function chooseDisks(
  point: PointRecord,
  luns: readonly number[] | undefined,
): Promise<readonly DiskRecord[]> {
  if (luns === undefined) return point.disks
  const { RepositoryError } = await import('#engine/repository')
  return luns.map((lun) => {
    const disk = point.disks.find((candidate) => candidate.lun === lun)
    if (disk !== undefined) return disk
    throw new RepositoryError('disk_not_found', `The point has no disk with LUN ${lun}.`, {
      facts: { point: point.id, lun, luns: point.disks.map((candidate) => String(candidate.lun)) },
      hint: 'The point\'s disks are shown by "holdfast repo show".',
    })
  })
}

/** The one disk that is meant. @throws disk_not_found, usage_invalid when there are several and none was named */
export async function chooseDisk(point: PointRecord, lun: number | undefined): Promise<DiskRecord> {
  if (lun === undefined && point.disks.length !== 1) {
    throw new CliError('usage_invalid', `The point has ${point.disks.length} disks; name one with --disk.`, {
      facts: { luns: point.disks.map((disk) => String(disk.lun)) },
    })
  }
  return must((await chooseDisks(point, lun === undefined ? undefined : [lun]))[0], 'Exactly one was chosen')
}
