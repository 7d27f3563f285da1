/** A repository's points in the words of the catalog's cache. */
import { must } from '#base'
import type { ListedPoint } from '#domain'
import type { PointRecord, Repository } from '#engine/repository'

export function listedPoint(repository: Repository, point: PointRecord): ListedPoint {
  const state = must(repository.log.state.points.get(point.id), 'A live point stands in the log')
  return {
    repositoryId: repository.config.id,
    pointId: point.id,
    // Points of single images know no machine but its name, which forms their history.
    machineId: point.machineUuid ?? `name:${point.machine}`,
    machineName: point.machine,
    takenAtMs: globalThis.Date.parse(point.takenAt),
    sequence: state.number,
    consistency: point.consistency,
    expiresAtMs: point.expiresAtMs ?? null,
    legalHold: false,
    disks: point.disks.map(({ id, lun, virtualSizeBytes, usedBytes, mode }) => ({
      diskId: id,
      lun,
      virtualBytes: virtualSizeBytes,
      usedBytes,
      mode,
    })),
  }
}
