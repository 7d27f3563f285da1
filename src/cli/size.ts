/** Sizes as people write them: "65536", "64KiB", "64K", "1.5G". All prefixes are binary. */
import { InvalidArgumentError } from 'commander'

const POWERS = ['', 'k', 'm', 'g', 't', 'p']

/** For commander. @throws InvalidArgumentError */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmgtp]?)(?:i?b)?$/i.exec(text.trim())
  const bytes = Number(match?.[1]) * 1024 ** POWERS.indexOf((match?.[2] ?? '').toLowerCase())
  if (match === null || !Number.isSafeInteger(bytes))
    throw new InvalidArgumentError('It is no size such as 64KiB or 10G.')
  return bytes
}
