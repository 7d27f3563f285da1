/** Lists in pages: `{value, nextLink?}`; a nextLink is called as it is, so it is absolute and carries its `$skipToken`. */

export const PAGE_MAX = 1000

export type Page<T> = Readonly<{ value: readonly T[]; nextLink?: string }>

/** Where the page begins, from the token of an earlier answer; 0 for none or for one that is not ours. */
export function skipOf(token: string | undefined): number {
  const skip = Number(token)
  return Number.isSafeInteger(skip) && skip > 0 ? skip : 0
}

/** @param url of the request, absolute @param top how many are asked for; at most PAGE_MAX are given */
export function pageOf<T>(all: readonly T[], url: string, token: string | undefined, top?: number): Page<T> {
  const from = skipOf(token)
  const wanted = top === undefined || !Number.isSafeInteger(top) || top < 1 ? PAGE_MAX : Math.min(top, PAGE_MAX)
  const value = all.slice(from, from + wanted)
  if (from + wanted >= all.length) return { value }
  const [path = '', query = ''] = url.split('?', 2)
  const kept = query.split('&').filter((pair) => pair !== '' && !/^(\$|%24)skiptoken=/i.test(pair))
  return { value, nextLink: `${path}?${[...kept, `$skipToken=${from + wanted}`].join('&')}` }
}
