/** Whole numbers from 1, for commander. */
import { InvalidArgumentError } from 'commander'

/** @throws InvalidArgumentError */
export function parseCount(text: string): number {
  const count = Number(text)
  if (!/^\d{1,9}$/.test(text) || count < 1) throw new InvalidArgumentError('It is no whole number from 1.')
  return count
}
