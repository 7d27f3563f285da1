/** A recovery point as the worker is told to open it for its files. */
import type { VaultPoint } from '#catalog'
import type { FilesOf } from '#jobs'
import type { ArmHost } from '../../../arm/call.ts'

/** `os`, `data0`, ...: how volumes of the disk are named. */
export function diskWord(lun: number): string {
  return lun < 0 ? 'os' : `data${lun}`
}

/** @throws JobsError when the vault's repository cannot be named */
export async function filesOf(host: ArmHost, point: VaultPoint): Promise<FilesOf> {
  return {
    key: `files ${point.itemKey} ${point.name}`,
    places: await host.disks.pointPlaces(point),
    disks: point.disks.map(({ diskId, lun }) => ({ id: diskId, name: diskWord(lun) })),
  }
}
