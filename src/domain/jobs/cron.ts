/**
 * When a schedule is due. Pure: the same pattern, zone and instant give the same slots.
 *
 * A slot is the instant (ms since the epoch) that names one planned run. Over the change to summer time, a wall-clock time
 * that does not exist runs at the first instant after the gap; over the change back, a time that occurs twice runs once
 * (croner's rule, held by the tests).
 */
import { Cron } from 'croner'
import { DomainError } from '../errors.ts'
import { messageOf } from '#base'

export type CronSpec = Readonly<{
  /** Five fields (minute hour day month weekday), or six with seconds first. */
  cron: string
  /** IANA name, "Europe/Berlin". */
  timeZone: string
}>

function parse(spec: CronSpec): Cron {
  try {
    return new Cron(spec.cron, { timezone: spec.timeZone, paused: true })
  } catch (cause) {
    throw new DomainError('cron_invalid', `"${spec.cron}" in ${spec.timeZone} is no schedule: ${messageOf(cause)}`, {
      facts: { cron: spec.cron, timeZone: spec.timeZone },
      hint: 'Give minute, hour, day of month, month and day of week, for example "30 2 * * *", and a zone such as Europe/Berlin.',
      cause,
    })
  }
}

function instant(ms: number): Date {
  // oxlint-disable-next-line no-restricted-globals -- converts an instant that was given; reads no clock
  return new Date(ms)
}

/** The first slot after `afterMs`, or undefined when there is none (a date that never comes). @throws DomainError */
export function nextSlotMs(spec: CronSpec, afterMs: number): number | undefined {
  try {
    return parse(spec).nextRun(instant(afterMs))?.getTime()
  } catch (cause) {
    if (cause instanceof DomainError) throw cause
    throw new DomainError('time_zone_unknown', `The time zone ${spec.timeZone} is not known.`, {
      facts: { timeZone: spec.timeZone },
      hint: 'Use a name of the IANA database, for example Europe/Berlin.',
      cause,
    })
  }
}

/** How many missed slots are counted before we stop counting; a clock set years ahead must not make us loop for long. */
const MISSED_SLOTS_COUNTED_MAX = 1000

export type DueSlots = Readonly<{
  /** The newest slot that is due, if any. */
  latestMs: number | undefined
  /** How many are due, counted to a bound. */
  count: number
  /** The first slot after now; undefined when there is none. */
  nextMs: number | undefined
}>

/** Which slots of the schedule, the first being `firstMs`, are due at `nowMs`. */
export function dueSlots(spec: CronSpec, firstMs: number, nowMs: number): DueSlots {
  let latestMs: number | undefined
  let count = 0
  let nextMs: number | undefined = firstMs
  while (nextMs !== undefined && nextMs <= nowMs && count < MISSED_SLOTS_COUNTED_MAX) {
    latestMs = nextMs
    count += 1
    nextMs = nextSlotMs(spec, nextMs)
  }
  if (count === MISSED_SLOTS_COUNTED_MAX) nextMs = nextSlotMs(spec, nowMs)
  return { latestMs, count, nextMs }
}
