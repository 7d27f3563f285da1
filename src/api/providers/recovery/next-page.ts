/** A page of a list that is read from where the last one ended. */
import type { Page } from '#contract'

/** @param token where the next page begins; undefined: this is the last one */
export function nextPage<T>(url: string, value: readonly T[], token: string | undefined): Page<T> {
  if (token === undefined) return { value }
  const [path = '', query = ''] = url.split('?', 2)
  const kept = query.split('&').filter((pair) => pair !== '' && !/^(\$|%24)skiptoken=/i.test(pair))
  return { value, nextLink: `${path}?${[...kept, `$skipToken=${encodeURIComponent(token)}`].join('&')}` }
}
