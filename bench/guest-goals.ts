/** The figures to reach that need machines (docs: "Numbers to reach"), held against what `bench/guest.ts` measured. */
import type { Verdict } from './goals.ts'
import type { GuestMedians } from './guest/measure-guests.ts'

const INCREMENTAL_SECONDS_MAX = 1.5
const READ_RATIO_MAX = 1.1
const PAUSE_MS_MAX = 20
const FREEZE_MS_MAX = 500
const LATENCY_RATIO_MAX = 1.5
const BOOT_RATIO_MAX = 1.3
const HYDRATED_SECONDS_MAX = 30

type Row = Readonly<{ what: string; value: number | undefined; unit: string; digits: number; max: number }>

export function judgeGuests(medians: GuestMedians): Verdict[] {
  return rowsOf(medians).map(({ what, value, unit, digits, max }) => ({
    what,
    measured: value === undefined ? '-' : `${value.toFixed(digits)} ${unit}`,
    bound: `<= ${max} ${unit}`,
    reached: value === undefined ? undefined : value <= max,
  }))
}

function rowsOf({ incremental, pause, latency, boot }: GuestMedians): Row[] {
  const ratio = (over: number | undefined, under: number | undefined): number | undefined =>
    over === undefined || under === undefined ? undefined : over / under
  const ms = (what: string, value: number | undefined, max: number): Row => ({
    what,
    value,
    unit: 'ms',
    digits: 1,
    max,
  })
  const times = (what: string, value: number | undefined, max: number): Row => {
    return { what, value, unit: 'times', digits: 2, max }
  }
  const s = (what: string, value: number | undefined, max: number): Row => ({ what, value, unit: 's', digits: 2, max })
  const bootRatio = (machine: string): number | undefined =>
    ratio(boot?.[`${machine} instant`]?.readySeconds, boot?.[`${machine} local`]?.readySeconds)
  return [
    s('incremental with a bitmap, 64 MiB changed on 1 TiB', incremental?.seconds, INCREMENTAL_SECONDS_MAX),
    times('bytes it reads against those changed', incremental?.readRatio, READ_RATIO_MAX),
    ms('guest pause, 4 disks, full', pause?.['full']?.stoppedMs, PAUSE_MS_MAX),
    ms('guest pause, 4 disks, incremental', pause?.['incremental']?.stoppedMs, PAUSE_MS_MAX),
    ms('freeze to thaw, 4 disks', pause?.['frozen']?.freezeMs, FREEZE_MS_MAX),
    times(
      'guest write latency (p99), backup against alone',
      ratio(latency?.['backup']?.p99Ms, latency?.['alone']?.p99Ms),
      LATENCY_RATIO_MAX,
    ),
    times(
      'guest write latency (p99), application-consistent backups against alone',
      ratio(latency?.['quiet']?.p99Ms, latency?.['alone']?.p99Ms),
      LATENCY_RATIO_MAX,
    ),
    times('instant boot against local, small disk', bootRatio('small'), BOOT_RATIO_MAX),
    times('instant boot against local, 1 TiB', bootRatio('huge'), BOOT_RATIO_MAX),
    s('1 TiB with 200 MiB hydrated', boot?.['huge instant']?.hydratedSeconds, HYDRATED_SECONDS_MAX),
  ]
}
