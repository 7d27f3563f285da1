/** What a repository holds and what it costs; from the log alone, without reading a pack. */
import type { Repository } from './repository.ts'

export type RepositoryStats = Readonly<{
  points: number
  machines: number
  /** Virtual and used bytes of all disks of all points, as if each were kept by itself. */
  virtualBytes: number
  usedBytes: number
  packs: number
  /** What live packs take in the store, and what doomed ones still do. */
  storedBytes: number
  doomedBytes: number
  /** usedBytes / storedBytes: what sharing and compression save together. */
  ratio: number
  logEntries: number
  activePins: number
}>

export function repositoryStats(repository: Repository, nowMs: number): RepositoryStats {
  const { state } = repository.log
  const points = repository.points()
  const disks = points.flatMap((point) => point.disks)
  const bytesIn = (status: 'live' | 'doomed'): number =>
    state.packs.filter((pack) => pack.status === status).reduce((sum, pack) => sum + pack.lengthBytes, 0)
  const usedBytes = disks.reduce((sum, disk) => sum + disk.usedBytes, 0)
  const storedBytes = bytesIn('live')
  return {
    points: points.length,
    machines: new Set(points.map(({ machine }) => machine)).size,
    virtualBytes: disks.reduce((sum, disk) => sum + disk.virtualSizeBytes, 0),
    usedBytes,
    packs: state.packs.filter(({ status }) => status !== 'deleted').length,
    storedBytes,
    doomedBytes: bytesIn('doomed'),
    ratio: storedBytes === 0 ? 1 : usedBytes / storedBytes,
    logEntries: state.head,
    activePins: state.pins.active(nowMs).length,
  }
}
