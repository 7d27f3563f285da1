/**
 * Reading values that came from outside. A missing or wrong member is the peer's fault (`qmp_protocol_violation`), never an
 * assertion; members that we do not know are ignored, because QEMU adds some in every release.
 */
import { HypervisorError } from '../errors.ts'

export type JsonObject = Readonly<Record<string, unknown>>

function violation(what: string, expected: string): HypervisorError {
  return new HypervisorError('qmp_protocol_violation', `QEMU sent no ${expected} where ${what} was expected.`, {
    facts: { what, expected },
  })
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function asObject(value: unknown, what: string): JsonObject {
  if (!isObject(value)) throw violation(what, 'object')
  return value
}

export function asList(value: unknown, what: string): readonly unknown[] {
  if (!Array.isArray(value)) throw violation(what, 'list')
  return value
}

export function asText(value: unknown, what: string): string {
  if (typeof value !== 'string') throw violation(what, 'text')
  return value
}

/** A whole number that a double holds exactly. */
export function asCount(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw violation(what, 'count')
  return value
}

export function textOr(value: unknown, otherwise: string): string {
  return typeof value === 'string' ? value : otherwise
}
