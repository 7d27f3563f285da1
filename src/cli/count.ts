/** Whole numbers from 1, for commander. */
import { InvalidArgumentError } from 'commander'

/** @throws InvalidArgumentError */
export function parseCount(text: string): number {
  const count = Number(text)
  if (!/^\d{1,9}$/.test(text) || count < 1) throw new InvalidArgumentError('It is no whole number from 1.')
  return count
}

/** A TCP port; 0 stands for any free one. @throws InvalidArgumentError */
export function parsePort(text: string): number {
  const port = Number(text)
  if (!/^\d{1,5}$/.test(text) || port > 65_535) throw new InvalidArgumentError('It is no port from 0 to 65535.')
  return port
}
