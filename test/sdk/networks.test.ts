/** Networks by the official SDK: made, shown, changed, refused, deleted; every body is as Azure's models have it. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { NetworkManagementClient } from 'arm-network-with-mappers'
import { must } from '#base'
import { all, refusal, SdkWorld } from './sdk-world.ts'
import { breaches, mappersOf } from './wire-check.ts'

const GROUP = 'rg1'
const POLL = { updateIntervalInMs: 100 }

test('networks by @azure/arm-network', async (t) => {
  await using world = await SdkWorld.make()
  const { clients, record } = world
  const scope = `${record.endpoint}/.default`
  const client = new NetworkManagementClient(clients.credential, record.subscriptionId, {
    endpoint: record.endpoint,
    credentialScopes: [scope],
  })
  const mappers = await mappersOf('arm-network-with-mappers')
  const location = 'eastus'
  await clients.resources.resourceGroups.createOrUpdate(GROUP, { location })

  /** The body as it goes over the wire. */
  const wire = async (path: string): Promise<unknown> => {
    const token = must(await clients.credential.getToken(scope), 'There is a token')
    const url = `${record.endpoint}${world.subscription}/resourceGroups/${GROUP}/providers/Microsoft.Network/${path}?api-version=2025-01-01`
    const answer = await fetch(url, { headers: { authorization: `Bearer ${token.token}` } })
    assert.equal(answer.status, 200)
    return answer.json()
  }

  await t.test('a network, its subnets', async () => {
    const made = await client.virtualNetworks.beginCreateOrUpdateAndWait(
      GROUP,
      'v1',
      {
        location,
        addressSpace: { addressPrefixes: ['10.0.0.0/16'] },
        subnets: [{ name: 's1', addressPrefix: '10.0.0.0/24' }],
      },
      POLL,
    )
    assert.equal(made.subnets?.[0]?.addressPrefix, '10.0.0.0/24')
    const subnet = { addressPrefix: '10.0.1.0/24', defaultOutboundAccess: false }
    const sealed = await client.subnets.beginCreateOrUpdateAndWait(GROUP, 'v1', 's2', subnet, POLL)
    assert.equal(sealed.defaultOutboundAccess, false)
    assert.deepEqual(breaches(mappers, 'VirtualNetwork', await wire('virtualNetworks/v1')), [])
    assert.deepEqual(
      (await all(client.subnets.list(GROUP, 'v1'))).map(({ name }) => name),
      ['s1', 's2'],
    )
    assert.deepEqual(
      (await all(client.virtualNetworks.listAll())).map(({ name }) => name),
      ['v1'],
    )
  })

  await t.test('a group, an address, a card with both', async () => {
    const rule = { name: 'ssh', priority: 1000, protocol: 'Tcp', access: 'Allow', direction: 'Inbound' }
    const ends = {
      sourceAddressPrefix: '*',
      destinationAddressPrefix: '*',
      sourcePortRange: '*',
      destinationPortRange: '22',
    }
    const group = await client.networkSecurityGroups.beginCreateOrUpdateAndWait(
      GROUP,
      'g1',
      { location, securityRules: [{ ...rule, ...ends }] },
      POLL,
    )
    const address = await client.publicIPAddresses.beginCreateOrUpdateAndWait(
      GROUP,
      'p1',
      { location, sku: { name: 'Standard' }, publicIPAllocationMethod: 'Static' },
      POLL,
    )
    const subnet = await client.subnets.get(GROUP, 'v1', 's1')
    const configuration = {
      name: 'ip1',
      subnet: { id: must(subnet.id, 'An id') },
      publicIPAddress: { id: must(address.id, 'An id') },
    }
    const card = await client.networkInterfaces.beginCreateOrUpdateAndWait(
      GROUP,
      'n1',
      { location, networkSecurityGroup: { id: must(group.id, 'An id') }, ipConfigurations: [configuration] },
      POLL,
    )
    assert.equal(card.ipConfigurations?.[0]?.privateIPAddress, '10.0.0.4')
    assert.match(card.macAddress ?? '', /^52-54-00/)
    for (const [path, model] of [
      ['networkSecurityGroups/g1', 'NetworkSecurityGroup'],
      ['publicIPAddresses/p1', 'PublicIPAddress'],
      ['networkInterfaces/n1', 'NetworkInterface'],
    ] as const)
      assert.deepEqual(breaches(mappers, model, await wire(path)), [], path)
    const again = await client.networkInterfaces.beginCreateOrUpdateAndWait(GROUP, 'n1', card, POLL)
    assert.equal(again.macAddress, card.macAddress, 'what was got can be put')
    const updated = await client.networkInterfaces.updateTags(GROUP, 'n1', { tags: { a: 'b' } })
    assert.deepEqual(updated.tags, { a: 'b' })
  })

  await t.test('rules one by one; refusals; deletion in order', async () => {
    const rule = { priority: 200, protocol: 'Udp', access: 'Deny', direction: 'Outbound' }
    const ends = {
      sourceAddressPrefix: '*',
      destinationAddressPrefix: 'Internet',
      sourcePortRange: '*',
      destinationPortRanges: ['53', '123'],
    }
    await client.securityRules.beginCreateOrUpdateAndWait(GROUP, 'g1', 'no-dns', { ...rule, ...ends }, POLL)
    assert.equal((await all(client.securityRules.list(GROUP, 'g1'))).length, 2)
    assert.equal((await all(client.defaultSecurityRules.list(GROUP, 'g1'))).length, 6)
    await client.securityRules.beginDeleteAndWait(GROUP, 'g1', 'no-dns', POLL)
    assert.deepEqual(await refusal(client.virtualNetworks.beginDeleteAndWait(GROUP, 'v1', POLL)), [
      400,
      'InUseSubnetCannotBeDeleted',
    ])
    await client.networkInterfaces.beginDeleteAndWait(GROUP, 'n1', POLL)
    await client.publicIPAddresses.beginDeleteAndWait(GROUP, 'p1', POLL)
    await client.networkSecurityGroups.beginDeleteAndWait(GROUP, 'g1', POLL)
    await client.virtualNetworks.beginDeleteAndWait(GROUP, 'v1', POLL)
    assert.deepEqual(await refusal(client.virtualNetworks.get(GROUP, 'v1')), [404, 'ResourceNotFound'])
  })
})
