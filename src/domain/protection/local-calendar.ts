/**
 * The calendar of one time zone: which hour, day, week, month and year an instant lies in there. Pure; the zone's rules come
 * from the runtime's own table (ECMA-402).
 *
 * Keys of one kind are equal exactly for instants of one period. The hour that occurs twice when summer time ends has two
 * keys: its key carries the offset.
 */
import { DomainError } from '../errors.ts'

export type Periods = Readonly<{ hour: string; day: string; week: string; month: string; year: string }>
export type PeriodKind = keyof Periods

export type LocalCalendar = (atMs: number) => Periods

/** Days since 1970-01-01 of a date of the Gregorian calendar (Hinnant, "chrono-compatible low-level date algorithms"). */
function daysOf(year: number, month: number, day: number): number {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yearOfEra = y - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  const dayOfEra = yearOfEra * 365 + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100) + dayOfYear
  return era * 146_097 + dayOfEra - 719_468
}

/** The inverse of `daysOf`, as yyyy-mm-dd. */
function dateOf(days: number): string {
  const shifted = days + 719_468
  const era = Math.floor(shifted / 146_097)
  const dayOfEra = shifted - era * 146_097
  const fourths = Math.floor(dayOfEra / 1460) - Math.floor(dayOfEra / 36_524) + Math.floor(dayOfEra / 146_096)
  const yearOfEra = Math.floor((dayOfEra - fourths) / 365)
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100))
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153)
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  return [String(year).padStart(4, '0'), String(month).padStart(2, '0'), String(day).padStart(2, '0')].join('-')
}

/** Weeks begin on Monday (ISO 8601) and are named by it; 1970-01-01 was a Thursday. */
function mondayOf(days: number): number {
  return days - ((((days + 3) % 7) + 7) % 7)
}

/** @throws DomainError `time_zone_unknown` */
export function localCalendar(timeZone: string): LocalCalendar {
  let format: Intl.DateTimeFormat
  try {
    format = new Intl.DateTimeFormat('en-u-ca-iso8601-nu-latn', {
      timeZone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: '2-digit',
      hour: '2-digit',
      timeZoneName: 'longOffset',
    })
  } catch (cause) {
    throw new DomainError('time_zone_unknown', `The time zone ${timeZone} is not known.`, {
      facts: { timeZone },
      hint: 'Use a name of the IANA database, for example Europe/Berlin.',
      cause,
    })
  }
  return (atMs) => {
    const part = new Map(format.formatToParts(atMs).map(({ type, value }) => [type, value]))
    const [year = '', month = '', day = '', hour = ''] = (['year', 'month', 'day', 'hour'] as const).map((t) =>
      part.get(t),
    )
    const week = mondayOf(daysOf(Number(year), Number(month), Number(day)))
    return {
      hour: `${year}-${month}-${day}T${hour} ${part.get('timeZoneName') ?? ''}`,
      day: `${year}-${month}-${day}`,
      week: `the week of ${dateOf(week)}`,
      month: `${year}-${month}`,
      year,
    }
  }
}
