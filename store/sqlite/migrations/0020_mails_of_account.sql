-- Whose mail a row asks for stands at the same place of what Go writes as arguments: of {"user_id":"ID","generation":1} bytes 13 to 51 are ID",",
-- and of {"pending_id":"ID",…} and {"request_id":"ID"} they are ":"ID. What was written otherwise, as in SQL by hand, stands apart. So the mails of
-- an account are found however many rows are younger than it. Kinds of an app's own pay for nothing.
CREATE INDEX outbox_account ON outbox (substr(payload, 13, 39)) WHERE kind GLOB 'mail:*';
CREATE INDEX outbox_account_odd ON outbox (id) WHERE kind GLOB 'mail:*' AND substr(payload, 1, 12) <> CAST('{"user_id":"' AS BLOB) AND substr(payload, 1, 15) <> CAST('{"pending_id":"' AS BLOB);
CREATE INDEX outbox_request ON outbox (substr(payload, 13, 39)) WHERE kind = 'users:answer';
