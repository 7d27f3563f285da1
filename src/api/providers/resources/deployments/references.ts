/** `reference()` in an evaluation that cannot wait: what is missing is fetched, and the evaluation begins again. */
import { templateError } from '../../../templates/expression.ts'
import { memberOf, type TemplateValue } from '../../../templates/template-value.ts'

export type Reference = (id: string, full: boolean) => TemplateValue

const REFERENCES_MAX = 1000

class Missing extends Error {
  readonly id: string

  constructor(id: string) {
    super(id)
    this.id = id
  }
}

/** @param fetch gives the whole resource @throws what `evaluate` and `fetch` throw */
export async function withReferences<T>(
  evaluate: (reference: Reference) => T,
  fetch: (id: string) => Promise<TemplateValue>,
): Promise<T> {
  const known = new Map<string, TemplateValue>()
  const reference: Reference = (id, full) => {
    const found = known.get(id.toLowerCase())
    if (found === undefined) throw new Missing(id)
    return full ? found : (memberOf(found, 'properties') ?? {})
  }
  for (let fetched = 0; fetched <= REFERENCES_MAX; fetched += 1) {
    try {
      return evaluate(reference)
    } catch (error) {
      if (!(error instanceof Missing)) throw error
      known.set(error.id.toLowerCase(), await fetch(error.id))
    }
  }
  throw templateError(`The template refers to more than ${REFERENCES_MAX} resources.`)
}
