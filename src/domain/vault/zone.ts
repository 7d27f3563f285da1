/**
 * A time zone as schedules need it: the local date and time of an instant, and the instant of a local date and time. Pure; the
 * zone's rules come from the runtime's own table (ECMA-402).
 *
 * Over the change to summer time, a time that does not exist is the first instant after the gap; over the change back, a time that
 * occurs twice is the first of the two.
 */
import { daysOf } from '../civil-days.ts'
import { DomainError } from '../errors.ts'
import { ianaOfWindows } from './windows-zones.ts'

export const DAY_MS = 86_400_000
const MINUTE_MS = 60_000
const CACHED_DAYS_MAX = 4096
const PARTS = ['year', 'month', 'day', 'hour', 'minute', 'second'] as const

/** Days since 1970-01-01, and ms since that day's midnight, on the wall's clock. */
export type WallTime = Readonly<{ day: number; ms: number }>

export class Zone {
  /** IANA name. */
  readonly name: string
  readonly #format: Intl.DateTimeFormat
  /** Offsets of days (of UTC) that have one offset only. */
  readonly #offsets = new Map<number, number | undefined>()

  constructor(name: string) {
    this.name = name
    this.#format = new Intl.DateTimeFormat('en-u-ca-iso8601-nu-latn', {
      timeZone: name,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      minute: '2-digit',
      second: '2-digit',
    })
  }

  wallTime(atMs: number): WallTime {
    const local = atMs + this.#offset(atMs)
    const day = Math.floor(local / DAY_MS)
    return { day, ms: local - day * DAY_MS }
  }

  /** `minute` may lie beyond the day's end. */
  instant(day: number, minute: number): number {
    const wall = day * DAY_MS + minute * MINUTE_MS
    const before = wall - this.#offset(wall - DAY_MS)
    if (before + this.#offset(before) === wall) return before
    const after = wall - this.#offset(wall + DAY_MS)
    return after + this.#offset(after) === wall ? after : this.#changeBetween(wall)
  }

  /** The first instant at which the wall's clock is beyond `wall`, a time that it jumps over. */
  #changeBetween(wall: number): number {
    let [low, high] = [wall - DAY_MS, wall + DAY_MS]
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2)
      if (middle + this.#offset(middle) < wall) low = middle
      else high = middle
    }
    return high
  }

  #offset(atMs: number): number {
    const day = Math.floor(atMs / DAY_MS)
    if (!this.#offsets.has(day)) {
      if (this.#offsets.size >= CACHED_DAYS_MAX) this.#offsets.clear()
      const [first, last] = [this.#look(day * DAY_MS), this.#look((day + 1) * DAY_MS)]
      this.#offsets.set(day, first === last ? first : undefined)
    }
    return this.#offsets.get(day) ?? this.#look(atMs)
  }

  #look(atMs: number): number {
    const parts = new Map(this.#format.formatToParts(atMs).map(({ type, value }) => [type, Number(value)]))
    const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = PARTS.map((part) => parts.get(part))
    const wall = daysOf(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000
    return wall - Math.floor(atMs / 1000) * 1000
  }
}

const zones = new Map<string, Zone>()

/** By its IANA name or the name that Windows has for it. @throws DomainError `time_zone_unknown` */
export function zoneOf(name: string): Zone {
  const found = zones.get(name)
  if (found !== undefined) return found
  try {
    const zone = new Zone(ianaOfWindows(name) ?? name)
    zones.set(name, zone)
    return zone
  } catch (cause) {
    throw new DomainError('time_zone_unknown', `The time zone ${name} is not known.`, {
      facts: { timeZone: name },
      hint: 'Use a name of Windows, for example "W. Europe Standard Time", or of the IANA database, for example Europe/Berlin.',
      cause,
    })
  }
}
