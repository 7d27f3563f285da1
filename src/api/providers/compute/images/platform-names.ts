/** Names of platform images: their ids, and which version is the newest. Pure. */

export type PlatformName = Readonly<{
  location: string
  publisher: string
  offer: string
  sku: string
  version: string
}>

export function platformImageId(subscription: string, name: PlatformName): string {
  const { location, publisher, offer, sku, version } = name
  const place = `/subscriptions/${subscription}/providers/Microsoft.Compute/locations/${location}/publishers/${publisher}`
  return `${place}/artifacttypes/vmimage/offers/${offer}/skus/${sku}/versions/${version}`
}

function numbersOf(version: string): readonly number[] {
  return version.split('.').map((part) => (/^\d+$/.test(part) ? Number(part) : -1))
}

/** Versions are numbers joined by periods: 1.10.0 is newer than 1.9.0. */
export function compareVersions(left: string, right: string): number {
  const [a, b] = [numbersOf(left), numbersOf(right)]
  for (let i = 0; i < Math.max(a.length, b.length); i += 1) {
    const difference = (a[i] ?? -1) - (b[i] ?? -1)
    if (difference !== 0) return difference
  }
  return 0
}

export function newestVersion(versions: readonly string[]): string | undefined {
  return versions.toSorted(compareVersions).at(-1)
}
