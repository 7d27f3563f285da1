/** Names of regions as Azure compares them: "East US" and "eastus" are the same place. */
import { ArmError } from './arm-error.ts'

const LOCATION = /^[a-z0-9]{1,60}$/

/** Lower case without blanks; not checked against the regions that there are. */
export function normalizeLocation(given: string): string {
  return given.toLowerCase().replaceAll(' ', '')
}

/** @throws ArmError `InvalidLocation` */
export function readLocation(given: unknown, target = 'location'): string {
  const name = typeof given === 'string' ? normalizeLocation(given) : ''
  if (LOCATION.test(name)) return name
  const message =
    given === undefined || given === null
      ? 'The location property is required.'
      : 'The location is not the name of a region.'
  throw new ArmError('InvalidLocation', message, { target })
}
