/**
 * How long a guest of four disks under load stands still when an instant is taken: by QEMU's own STOP and RESUME, beside
 * what Holdfast says; and how long its file systems are frozen. Kinds of instant alternate.
 */
import { toHex } from '#base'
import { type ConsistencyLevel, openRunningInstant, QmpClient, type TrackingRequest } from '#engine/hypervisor'
import { systemClock, systemRandom } from '#runtime'
import { median } from '../measure.ts'
import { LoadedGuest } from './loaded-guest.ts'

export type PauseKind = 'full' | 'incremental' | 'frozen'
export type PauseSample = Readonly<{
  kind: PauseKind
  /** Between QEMU's events STOP and RESUME. */
  stoppedMs: number
  pauseMs: number
  freezeMs: number
  /** Time between the steps of the moment, by name of the later one. */
  steps: Readonly<Record<string, number>>
}>

const IOPS_A_DISK = 60

export async function measurePauses(rounds: number, say: (text: string) => void): Promise<PauseSample[]> {
  await using loaded = await LoadedGuest.start({ dataDisks: 3, diskMib: 1024, dataMib: 0 })
  await loaded.startLoad(IOPS_A_DISK, 3_600)
  const rig = await QmpClient.connect(loaded.guest.paths.rigQmp, { clock: systemClock })
  try {
    const samples: PauseSample[] = []
    let committed: Record<string, string> = {}
    await systemClock.sleep(3_000)
    for (let round = 0; round < rounds; round += 1) {
      for (const kind of ['full', 'incremental', 'frozen'] as const) {
        const { sample, tracked } = await takeOne(loaded, rig, kind, kind === 'full' ? {} : committed)
        committed = tracked
        samples.push(sample)
        say(
          `pause ${kind}: stopped ${sample.stoppedMs.toFixed(1)} ms, said ${sample.pauseMs.toFixed(1)}, frozen ${sample.freezeMs.toFixed(0)}  ` +
            Object.entries(sample.steps)
              .map(([name, ms]) => `${name} ${ms.toFixed(1)}`)
              .join(', '),
        )
        await systemClock.sleep(700)
      }
    }
    return samples
  } finally {
    await rig.close()
  }
}

async function takeOne(
  loaded: LoadedGuest,
  rig: QmpClient,
  kind: PauseKind,
  committed: Record<string, string>,
): Promise<{ sample: PauseSample; tracked: Record<string, string> }> {
  const steps: Record<string, number> = {}
  let lastMs = systemClock.monotonicMs()
  const host = await loaded.host((step) => {
    const nowMs = systemClock.monotonicMs()
    steps[step] = nowMs - lastMs
    lastMs = nowMs
    return Promise.resolve()
  })
  const next = toHex(systemRandom.bytes(6))
  const tracking: TrackingRequest = {
    tracker: 'a1b2c3d4',
    next,
    committed,
    granularityBytes: 256 * 1024,
  }
  const stopped = rig.expectEvent('STOP')
  const resumed = rig.expectEvent('RESUME')
  const consistency: ConsistencyLevel = kind === 'frozen' ? 'filesystem' : 'crash'
  const instant = await openRunningInstant(host, loaded.machine(), { consistency, strict: true, tracking })
  const stoppedMs = (await resumed.within(10_000)).atMs - (await stopped.within(10_000)).atMs
  await instant.commit()
  const tracked = Object.fromEntries(instant.disks.map((disk) => [disk.diskId, next]))
  return { sample: { kind, stoppedMs, pauseMs: instant.pauseMs, freezeMs: instant.freezeMs, steps }, tracked }
}

export function pauseMedians(samples: readonly PauseSample[]): Record<string, Omit<PauseSample, 'kind' | 'steps'>> {
  const of = (own: readonly PauseSample[], field: 'stoppedMs' | 'pauseMs' | 'freezeMs'): number =>
    median(own.map((sample) => sample[field]))
  return Object.fromEntries(
    [...Map.groupBy(samples, ({ kind }) => kind)].map(([kind, own]) => [
      kind,
      { stoppedMs: of(own, 'stoppedMs'), pauseMs: of(own, 'pauseMs'), freezeMs: of(own, 'freezeMs') },
    ]),
  )
}
