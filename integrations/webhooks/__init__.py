"""Signed webhooks by the Standard Webhooks specification: https://www.standardwebhooks.com.

signing    secrets and signatures (values in, values out)
events     what is told: the payload of a notice
fanout     notices become deliveries, one per endpoint that wants them
claims     who sends a delivery: leases, and fair shares among endpoints
sending    one request and how its answer is read
outcomes   what an attempt changes: delivered, tried again, given up, endpoint disabled
deliverer  the run of a worker: fan out, claim, send from threads, settle
endpoints  what people do with endpoints: create, change, roll, delete
deliveries what people do with deliveries: test, replay
log        pages of the delivery log
sweep      rows whose time is over
forms, views, urls   their pages, under /w/<workspace>/webhooks/
"""
