/**
 * The calendar of one time zone: which hour, day, week, month and year an instant lies in there. Pure; the zone's rules come
 * from the runtime's own table (ECMA-402).
 *
 * Keys of one kind are equal exactly for instants of one period. The hour that occurs twice when summer time ends has two
 * keys: its key carries the offset.
 */
import { dateText, daysOf } from '../civil-days.ts'
import { DomainError } from '../errors.ts'

export type Periods = Readonly<{ hour: string; day: string; week: string; month: string; year: string }>
export type PeriodKind = keyof Periods

export type LocalCalendar = (atMs: number) => Periods

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
      week: `the week of ${dateText(week)}`,
      month: `${year}-${month}`,
      year,
    }
  }
}
