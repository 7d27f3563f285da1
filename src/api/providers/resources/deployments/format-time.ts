/** Times as `utcNow(format)` gives them: .NET's custom formats, and its standard ones that name no culture. */
import { templateError } from '../../../templates/expression.ts'

const STANDARD: Readonly<Record<string, string>> = {
  d: 'MM/dd/yyyy',
  o: 'yyyy-MM-ddTHH:mm:ss.fffffffZ',
  O: 'yyyy-MM-ddTHH:mm:ss.fffffffZ',
  R: "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
  r: "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
  s: 'yyyy-MM-ddTHH:mm:ss',
  u: 'yyyy-MM-dd HH:mm:ssZ',
}
const DEFAULT = 'yyyyMMddTHHmmssZ'
const DAYS = ['Sun', 'Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat']
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
const TOKEN = /'([^']*)'|"([^"]*)"|\\(.)|yyyy|yy|y|MMM|MM|M|ddd|dd|d|HH|H|hh|h|mm|m|ss|s|f{1,7}|tt/g

/** @param iso of the time, UTC, with milliseconds @throws ArmError `InvalidTemplate` */
export function formatTime(iso: string, format: string = DEFAULT): string {
  const pattern = format.length === 1 ? STANDARD[format] : format
  if (pattern === undefined) throw templateError(`utcNow() does not know the format '${format}'.`)
  const time = new globalThis.Date(iso)
  const [year, month, day] = [time.getUTCFullYear(), time.getUTCMonth() + 1, time.getUTCDate()]
  const [hour, minute, second] = [time.getUTCHours(), time.getUTCMinutes(), time.getUTCSeconds()]
  const two = (value: number): string => String(value).padStart(2, '0')
  const values: Readonly<Record<string, string>> = {
    yyyy: String(year),
    yy: two(year % 100),
    y: String(year % 100),
    MMM: MONTHS[month - 1] ?? '',
    MM: two(month),
    M: String(month),
    ddd: DAYS[time.getUTCDay()] ?? '',
    dd: two(day),
    d: String(day),
    HH: two(hour),
    H: String(hour),
    hh: two(hour % 12 || 12),
    h: String(hour % 12 || 12),
    mm: two(minute),
    m: String(minute),
    ss: two(second),
    s: String(second),
    tt: hour < 12 ? 'AM' : 'PM',
  }
  const fraction = String(time.getUTCMilliseconds()).padStart(3, '0').padEnd(7, '0')
  return pattern.replaceAll(TOKEN, (token, single?: string, double?: string, escaped?: string) => {
    const literal = single ?? double ?? escaped
    if (literal !== undefined) return literal
    return values[token] ?? fraction.slice(0, token.length)
  })
}
