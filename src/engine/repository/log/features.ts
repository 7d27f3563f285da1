/**
 * What a reader must know to go by the log: entries name features in `requires`, and the state keeps them for ever, so that
 * a program which does not know one refuses by name, also when it reads on from a checkpoint. No feature exists yet.
 */
import { RepositoryError } from '../errors.ts'

const KNOWN_FEATURES: ReadonlySet<string> = new Set()

export function unknownFeatures(requires: readonly string[]): string[] {
  return requires.filter((feature) => !KNOWN_FEATURES.has(feature))
}

/** @param number of the entry, or of the checkpoint's. @throws repository_too_new */
export function assertKnownFeatures(requires: readonly string[], number: number): void {
  const unknown = unknownFeatures(requires)
  if (unknown.length === 0) return
  throw new RepositoryError(
    'repository_too_new',
    `Entry ${number} of the log asks for what this Holdfast does not know: ${unknown.join(', ')}.`,
    {
      facts: { number, unknownFeatures: unknown },
      hint: 'Use a Holdfast at least as new as the one that wrote the entry.',
    },
  )
}
