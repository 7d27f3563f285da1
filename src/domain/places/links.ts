/**
 * What linked servers must agree on, decided in one place: that no two regions have one name, and that a pair over a link holds
 * both ways or not at all. Pure.
 */

export type NamedRegion = Readonly<{ name: string; pair: string | undefined }>

/** A name that both have; undefined when there is none. */
export function sharedRegion(left: readonly NamedRegion[], right: readonly NamedRegion[]): string | undefined {
  const names = new Set(left.map(({ name }) => name))
  return right.find(({ name }) => names.has(name))?.name
}

/**
 * Our regions whose pair over the link is none any more: the other server does not have it any more, or has given it another.
 * @param before names of the other's regions as they were known @param now what it says of itself
 */
export function lostPairs(
  own: readonly NamedRegion[],
  before: readonly NamedRegion[],
  now: readonly NamedRegion[],
): string[] {
  const theirs = new Set([...before, ...now].map(({ name }) => name))
  const ours = new Set(own.map(({ name }) => name))
  return own
    .filter(({ name, pair }) => {
      if (pair === undefined || ours.has(pair) || !theirs.has(pair)) return false
      return now.find((other) => other.name === pair)?.pair !== name
    })
    .map(({ name }) => name)
}
